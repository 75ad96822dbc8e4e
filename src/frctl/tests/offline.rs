//! The program itself, as far as it needs no server. `SNAPSHOTS=overwrite cargo test -p frctl` writes the golden files again.

#![expect(
    clippy::expect_used,
    reason = "a test that cannot run must fail loudly"
)]

use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use snapbox::{assert_data_eq, file};

fn frctl(arguments: &[&str]) -> Output {
    with_input(arguments, b"")
}

fn with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_frctl"))
        .args(arguments)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests"))
        .env_clear()
        .env("COLUMNS", "100")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("frctl starts");
    // frctl may end without reading all of it.
    let _ = child
        .stdin
        .take()
        .expect("its input is a pipe")
        .write_all(input);
    child.wait_with_output().expect("frctl ends")
}

/// Exit code, standard output and standard error in one text.
fn told(output: &Output) -> String {
    format!(
        "exit code {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().expect("it was not killed"),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn help_lists_every_command() {
    let pages = [
        vec!["--help"],
        vec!["apply", "--help"],
        vec!["rollout", "--help"],
        vec!["rollout", "promote", "--help"],
        vec!["watch", "--help"],
    ];
    let text: Vec<String> = pages.iter().map(|page| told(&frctl(page))).collect();
    assert_data_eq!(text.join("\n"), file!["golden/help.txt"]);
}

#[test]
fn alternatives_are_shown_as_such() {
    for (page, ways) in [
        (&["delete"][..], 4),
        (&["hold"], 2),
        (&["rollout", "abort"], 2),
    ] {
        let said = told(&frctl(page));
        let command = format!("frctl {} [OPTIONS] ", page.join(" "));
        assert_eq!(said.matches(&command).count(), ways, "{said}");
    }
}

#[test]
fn a_template_is_filled_in_for_a_branch() {
    let template = "../../../../manifests/branch.yaml.tmpl";
    let validate = |more: &[&str]| {
        let mut all = vec!["validate", "-f", template];
        all.extend_from_slice(more);
        told(&frctl(&all))
    };
    let pages = [
        validate(&["--branch", "feature/login", "--set", "image=shop:1"]),
        validate(&["--branch", "feature/login"]),
        validate(&["--set", "image=shop:1"]),
        validate(&["--branch", "feature/login", "--set", "image=a: b"]),
        validate(&[
            "--branch",
            "feature/login",
            "--set",
            "image=shop:1",
            "--set",
            "tag=1",
        ]),
        validate(&[]),
    ];
    assert_data_eq!(pages.join("\n"), file!["golden/template.txt"]);
}

#[test]
fn each_document_is_reported_for_itself() {
    assert_data_eq!(
        told(&frctl(&["validate", "-f", "bad.yaml"])),
        file!["golden/validate.txt"]
    );
    let json = frctl(&["validate", "-f", "bad.yaml", "-o", "json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(value["items"][0]["release"], "default/good");
    assert_eq!(json.status.code(), Some(1));
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_name() {
    for arguments in [
        &["validate", "-f", "/nonexistent.yaml"][..],
        &["apply", "--dry-run", "client", "-f", "/nonexistent.yaml"],
    ] {
        let output = frctl(arguments);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("/nonexistent.yaml"), "{text}");
    }
    let output = with_input(&["validate", "-f", "-"], &[0xff, 0xfe, b'\n']);
    assert_eq!(output.status.code(), Some(1), "{}", told(&output));
}

#[test]
fn a_client_side_dry_run_needs_no_server_and_takes_the_namespace() {
    let output = frctl(&[
        "-n",
        "staging",
        "apply",
        "--dry-run",
        "client",
        "-f",
        "bad.yaml",
    ]);
    let text = told(&output);
    assert!(text.contains("release staging/good valid"), "{text}");
    assert!(text.starts_with("exit code 1"), "{text}");
}

#[test]
fn a_usage_error_ends_with_2() {
    for arguments in [
        &[][..],
        &["no-such-command"],
        &["get", "-o", "xml"],
        &["get", "Not_A_Name"],
        &["apply", "-f", "shop.yaml", "--wait", "--dry-run=client"],
        &["hold", "--all", "--id", "x"],
        &["get", "a/b/c"],
        &["-n", "one", "get", "two/shop"],
        &["--server", "http://frd", "get"],
        &["watch", "shop", "--once", "--exit"],
    ] {
        let output = frctl(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            told(&output)
        );
    }
}

#[test]
fn without_frd_it_says_what_to_do() {
    let output = frctl(&["--server", "unix:/nonexistent/frd.sock", "get"]);
    let text = told(&output);
    assert!(text.starts_with("exit code 1"), "{text}");
    assert!(
        text.contains("there is no frd at unix:/nonexistent/frd.sock"),
        "{text}"
    );
    assert!(text.contains("hint: start frd"), "{text}");
    let output = frctl(&["--server", "unix:/nonexistent/frd.sock", "doctor"]);
    let text = told(&output);
    assert!(
        text.starts_with("exit code 1") && text.contains("do: start frd"),
        "{text}"
    );
}

#[test]
fn a_socket_that_nobody_listens_on_is_told_apart() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("frd.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let output = frctl(&["--server", &format!("unix:{}", path.display()), "get"]);
    let text = told(&output);
    assert!(text.contains("nobody listens"), "{text}");
}

#[test]
fn completion_is_printed_for_every_shell_and_a_closed_pipe_is_no_panic() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = frctl(&["completion", shell]);
        assert!(
            output.status.success() && output.stdout.len() > 1000,
            "{shell}"
        );
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_frctl"))
        .args(["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("frctl starts");
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("it is text");
    assert_eq!(said, "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

#[test]
fn recorded_traffic_is_decided_line_by_line() {
    let mut input = String::new();
    for _ in 0..20 {
        input.push_str(
            "{\"canary\":{\"requests\":10,\"errors\":5},\"stable\":{\"requests\":190,\"errors\":1}}\n",
        );
    }
    let arguments = [
        "analysis",
        "replay",
        "-f",
        "shop.yaml",
        "--input",
        "-",
        "-o",
        "json",
    ];
    let output = with_input(&arguments, input.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[0]["tick"], 1);
    assert_eq!(lines[19]["verdict"], "rollback");
    let output = with_input(&arguments, b"nonsense\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(told(&output).contains("line 1"), "{}", told(&output));
}

#[test]
fn a_log_becomes_tables() {
    for (arguments, golden) in [
        (
            &["log-stats", "access.log"][..],
            file!["golden/log-stats.txt"],
        ),
        (
            &[
                "log-stats",
                "access.log",
                "-o",
                "wide",
                "--by",
                "server",
                "--top",
                "1",
            ],
            file!["golden/log-stats-wide.txt"],
        ),
        (
            &["log-stats", "access.log", "-o", "json", "--by", "frontend"],
            file!["golden/log-stats-json.txt"],
        ),
    ] {
        assert_data_eq!(told(&frctl(arguments)), golden);
    }
}

#[test]
fn logs_are_merged_and_standard_input_is_one_of_them() {
    let log = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/manifests/access.log"
    ))
    .expect("the log");
    let one = frctl(&["log-stats", "access.log", "access.log", "-o", "json"]);
    let two = with_input(&["log-stats", "-", "access.log", "-o", "json"], &log);
    let value = |output: &Output| -> serde_json::Value {
        serde_json::from_slice(&output.stdout).expect("it is JSON")
    };
    assert_eq!(value(&one)["total"], value(&two)["total"]);
    assert_eq!(value(&one)["tables"], value(&two)["tables"]);
    let packed = with_input(&["log-stats", "-"], b"\x1f\x8b\x08");
    let text = told(&packed);
    assert!(
        text.contains("is compressed") && text.contains("hint: zcat"),
        "{text}"
    );
    assert_eq!(with_input(&["log-stats", "-"], b"").status.code(), Some(0));
    assert_eq!(
        with_input(&["log-stats", "-"], b"<999>\n").status.code(),
        Some(1)
    );
}

#[test]
fn a_field_is_explained_to_programs_too() {
    let output = frctl(&["explain", "spec.drift", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0));
    let field: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(field["path"], "release.spec.drift");
    assert_eq!(field["default"], "repair");
}

#[test]
fn a_template_is_told_to_be_one() {
    let template =
        b"apiVersion: fridaymorning.dev/v1\nkind: Release\nmetadata:\n  name: shop-${branch}\n";
    let output = with_input(&["validate", "-f", "-"], template);
    let text = told(&output);
    assert!(text.starts_with("exit code 1"), "{text}");
    assert!(
        text.contains("<stdin>:4:9: metadata.name: this is a template"),
        "{text}"
    );
    assert!(text.contains("--branch NAME"), "{text}");
}
