//! Forward with the clients that people have: Docker's fluentd driver, PyPI's fluent-logger, npm's @fluent-org/logger send into
//! `frd`; npm's server takes what `frd` sends on.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fm_harness::image::Images;
use fm_harness::stack::Stack;
use fm_harness::{free_port, program, run, unique, until};
use serde_json::Value;
use tokio::process::{Child, Command};

const KEY: &str = "a shared key";

fn script(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forward_clients");
    folder.join(name).display().to_string()
}

/// Where the clients are installed, once for many runs.
fn clients(name: &str) -> Result<PathBuf> {
    let target = program("frd")?.ancestors().nth(2).map(Path::to_owned);
    let folder = target
        .context("no target folder")?
        .join("clients")
        .join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A Python that has fluent-logger.
async fn python() -> Result<String> {
    let folder = clients("python")?;
    let program = folder.join("bin/python3").display().to_string();
    let there = run(&program, &["-c", "import fluent.sender"]).await;
    if there.is_err() {
        let path = folder.display().to_string();
        run("python3", &["-m", "venv", &path]).await?;
        let install = ["-m", "pip", "install", "-q", "fluent-logger==0.11.1"];
        run(&program, &install).await?;
    }
    Ok(program)
}

/// Node, told where @fluent-org/logger is.
async fn node() -> Result<Command> {
    let folder = clients("node")?;
    if !folder
        .join("node_modules/@fluent-org/logger/package.json")
        .exists()
    {
        let path = folder.display().to_string();
        let package = "@fluent-org/logger@1.0.10";
        run(
            "npm",
            &[
                "install",
                "--no-audit",
                "--no-fund",
                "--prefix",
                &path,
                package,
            ],
        )
        .await?;
    }
    let mut command = Command::new("node");
    command
        .env("NODE_PATH", folder.join("node_modules"))
        .kill_on_drop(true);
    Ok(command)
}

/// An authority of our own, and a certificate for `localhost` by it.
async fn certificates(folder: &Path) -> Result<[String; 3]> {
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(at("san"), "subjectAltName=DNS:localhost\n")?;
    let openssl = async |text: &str| {
        let words: Vec<String> = text
            .split(' ')
            .map(|word| word.strip_prefix('@').map_or_else(|| word.to_owned(), at))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        run("openssl", &words).await
    };
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(&format!(
        "{new} -x509 -days 2 -subj /CN=authority -keyout @ca.key -out @ca.pem"
    ))
    .await?;
    openssl(&format!(
        "{new} -subj /CN=frd -keyout @frd.key -out @frd.csr"
    ))
    .await?;
    openssl("x509 -req -in @frd.csr -CA @ca.pem -CAkey @ca.key -CAcreateserial -days 2 -extfile @san -out @frd.pem").await?;
    Ok([at("ca.pem"), at("frd.pem"), at("frd.key")])
}

/// Requests counted for a release of the namespace `clients`.
async fn requests(stack: &Stack, release: &str) -> u64 {
    let seen = stack
        .api()
        .get("/v1/agent/telemetry")
        .await
        .unwrap_or_default();
    let release = &seen["releases"][format!("clients/{release}")];
    release["bbbb"]["requests"].as_u64().unwrap_or(0)
}

async fn counted(stack: &Stack, release: &str, wanted: u64) -> Result<()> {
    let what = format!("{wanted} requests of {release}");
    until(&what, Duration::from_secs(15), || async {
        (requests(stack, release).await == wanted).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clients_that_people_have_send_into_frd() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [ca, crt, key] = certificates(folder.path()).await?;
    let (plain, secured) = (free_port()?, free_port()?);
    let config = folder.path().join("frd.yaml");
    std::fs::write(folder.path().join("secret"), KEY)?;
    std::fs::write(
        &config,
        format!(
            "logs:\n  receive:\n    - {{ forward: '127.0.0.1:{plain}' }}\n    \
             - {{ forward: '127.0.0.1:{secured}', sharedKey: {{ file: secret }}, tls: {{ crt: {crt}, key: {key} }} }}\n"
        ),
    )?;
    let stack = Stack::start_with(None, &["--config", &config.to_string_lossy()]).await?;
    let outcome = send_all(&stack, plain, secured, &ca).await;
    stack.down().await;
    outcome
}

async fn send_all(stack: &Stack, plain: u16, secured: u16, ca: &str) -> Result<()> {
    let python = python().await?;
    let (plain, secured) = (plain.to_string(), secured.to_string());
    run(&python, &[&script("send.py"), &plain, "0", "300"]).await?;
    counted(stack, "python", 300).await?;

    for mode in [
        "Message",
        "Forward",
        "PackedForward",
        "CompressedPackedForward",
    ] {
        let arguments = |key| {
            [
                script("send.js"),
                secured.clone(),
                mode.into(),
                key,
                ca.into(),
                "0".into(),
                "200".into(),
            ]
        };
        let sent = node()
            .await?
            .args(arguments(KEY.to_owned()))
            .output()
            .await?;
        let said = String::from_utf8_lossy(&sent.stderr).into_owned();
        ensure!(sent.status.success(), "{mode}: {said}");
        counted(stack, &mode.to_lowercase(), 200).await?;
        let wrong = node()
            .await?
            .args(arguments("another key".to_owned()))
            .output()
            .await?;
        ensure!(!wrong.status.success(), "{mode}: a wrong key was taken");
        ensure!(
            requests(stack, &mode.to_lowercase()).await == 200,
            "{mode}: a wrong key counted"
        );
    }

    let tag = format!("fm-forward-{}:say", unique());
    let mut images = Images::default();
    images.build(&tag, &[]).await?;
    let line = r#"{"rc":"r|s|500|a|b|clients/docker|aaaa|bbbb|1","sd":"c","st":200,"ts":"--","tr":3,"p":13,"n":{n}}"#;
    let address = format!("fluentd-address=127.0.0.1:{plain}");
    let said = run(
        "docker",
        &[
            "run",
            "--rm",
            "--network",
            "none",
            "--log-driver",
            "fluentd",
            "--log-opt",
            &address,
            &tag,
            "say",
            "250",
            line,
        ],
    )
    .await;
    drop(images);
    said?;
    counted(stack, "docker", 250).await
}

/// Prints what it received.
struct Server {
    _child: Child,
    entries: PathBuf,
}

async fn server(folder: &Path, port: u16, crt: &str, key: &str) -> Result<Server> {
    let entries = folder.join(format!("entries-{port}"));
    let file = std::fs::File::create(&entries)?;
    let child = node()
        .await?
        .args([&script("receive.js"), &port.to_string(), KEY, crt, key])
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .context("node is needed")?;
    Ok(Server {
        _child: child,
        entries,
    })
}

impl Server {
    fn entries(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.entries).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_makers_server_takes_what_frd_sends_on() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [ca, crt, key] = certificates(folder.path()).await?;
    let port = free_port()?;
    let config = folder.path().join("frd.yaml");
    std::fs::write(folder.path().join("secret"), format!("{KEY}\n"))?;
    std::fs::write(
        &config,
        format!(
            "logs:\n  forward:\n    - {{ to: '127.0.0.1:{port}', tag: edge.access, sharedKey: {{ file: secret }}, tls: {{ ca: {ca}, name: localhost }} }}\n"
        ),
    )?;
    // Requests come before there is anybody to send their lines to.
    let stack = Stack::start_with(None, &["--config", &config.to_string_lossy()]).await?;
    let outcome = take_all(&stack, folder.path(), port, &crt, &key).await;
    stack.down().await;
    outcome
}

async fn take_all(stack: &Stack, folder: &Path, port: u16, crt: &str, key: &str) -> Result<()> {
    let ask = async |count: usize| {
        for _ in 0..count {
            let url = format!("http://127.0.0.1:{}/", stack.port());
            run("curl", &["-s", "-o", "/dev/null", &url]).await?;
        }
        anyhow::Ok(())
    };
    until("HAProxy to serve", Duration::from_secs(20), || async {
        tokio::net::TcpStream::connect(("127.0.0.1", stack.port()))
            .await
            .ok()
    })
    .await?;
    ask(20).await?;
    let server = server(folder, port, crt, key).await?;
    let requests = || {
        server
            .entries()
            .iter()
            .filter(|entry| is_request(entry))
            .count()
    };
    let all = async |wanted: usize| {
        let what = format!("{wanted} lines at the server");
        until(&what, Duration::from_secs(40), || async {
            (requests() >= wanted).then_some(())
        })
        .await
    };
    all(20).await?;
    ask(10).await?;
    all(30).await?;
    ensure!(requests() == 30, "{} instead of 30", requests());
    let metrics = run(
        "curl",
        &[
            "-s",
            "--unix-socket",
            &stack.socket().to_string_lossy(),
            "http://frd/metrics",
        ],
    )
    .await?;
    let to = format!("fridaymorning_log_forward_up{{to=\"127.0.0.1:{port}\"}} 1");
    ensure!(metrics.contains(&to), "{metrics}");
    Ok(())
}

/// A line of a request without a route, as HAProxy wrote it, under our tag.
fn is_request(entry: &Value) -> bool {
    let line = entry["record"]["message"].as_str().unwrap_or("");
    let parsed: Value = serde_json::from_str(line).unwrap_or_default();
    let named = entry["record"]["instance"]
        .as_str()
        .is_some_and(|name| !name.is_empty());
    entry["tag"] == "edge.access" && parsed["st"] == 404 && named
}
