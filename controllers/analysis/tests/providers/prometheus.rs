//! A real Prometheus that scrapes a page of ours.

use std::collections::BTreeSet;
use std::path::Path;

use fm_analysis::metrics::plan::Answer;
use fm_analysis::metrics::{Access, Credential, Login, Secret};
use fm_api::criteria::metrics::Compare;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::ask::{CANARY, STABLE, access, ask, error, metric, prometheus, web};
use super::real::{Server, certificate, until};

/// The hash of `hunter2`.
const USERS: &str =
    "basic_auth_users: { frd: \"$2b$04$0tnSDoJKRHy/BlmbzKgxoOorRbqEB.Sw/iuoXvyZic4ZQToX4NJLS\" }\n";

/// A page for Prometheus to scrape.
async fn page() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!(
        "# TYPE checkout_ratio gauge\ncheckout_ratio{{revision=\"{CANARY}\"}} 0.31\ncheckout_ratio{{revision=\"{STABLE}\"}} 0.29\n# TYPE odd gauge\nodd NaN\n"
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let text = text.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\nconnection: close";
                let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{text}", text.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    port
}

async fn start(secured: bool) -> Server {
    let page = page().await;
    let prepare = |folder: &Path, port: u16| {
        let scrape = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\nscrape_configs:\n  - job_name: page\n    static_configs: [{{ targets: [\"127.0.0.1:{page}\"] }}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), scrape).unwrap();
        certificate(folder, "own");
        certificate(folder, "other");
        let tls = "tls_server_config: { cert_file: own.crt, key_file: own.key }\n";
        std::fs::write(folder.join("web.yml"), format!("{tls}{USERS}")).unwrap();
        let mut arguments = vec![
            "--config.file=prometheus.yml".to_owned(),
            "--storage.tsdb.path=data".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn".to_owned(),
        ];
        if secured {
            arguments.push("--web.config.file=web.yml".to_owned());
        }
        arguments
    };
    let mut server = Server::start("prometheus", "prometheus", prepare);
    server.accepts().await;
    server
}

#[tokio::test]
async fn a_real_prometheus_is_asked_and_what_is_no_number_is_told_apart() {
    let server = start(false).await;
    let address = format!("http://127.0.0.1:{}/", server.port);
    let by = |query: &str| ask(prometheus(&address, query, None), Access::default());
    let query = r#"checkout_ratio{revision="{{revision}}"}"#;
    let scraped =
        |(answer, _): &(Answer, _)| !matches!(answer, Answer::NoData(_) | Answer::Error(_));
    let (answer, _) = until("the first scrape", || by(query), scraped).await;
    assert_eq!(answer, Answer::Value(0.31));
    assert_eq!(
        by("scalar(sum(checkout_ratio))").await.0,
        Answer::Value(0.6)
    );
    // A query that is larger than an address may be.
    let long = format!("{query} # {}", "x".repeat(20_000));
    assert_eq!(by(&long).await.0, Answer::Value(0.31));
    for none in ["nothing_of_that_name", "odd", "1 / 0", "-1 / 0"] {
        let (answer, _) = by(none).await;
        assert!(matches!(answer, Answer::NoData(_)), "{none}: {answer:?}");
    }
    for (query, says) in [
        ("checkout_ratio", "2 series"),
        ("checkout_ratio[1m]", "matrix"),
        ("rate(", "parse error"),
        ("\"text\"", "string"),
    ] {
        let said = error(by(query).await.0);
        assert!(said.contains(says), "{query}: {said}");
    }
    // The same server by a path of its JSON.
    let mut path = web(&format!("{address}api/v1/query?query=vector(7)"));
    path.web.as_mut().unwrap().json_path = "$.data.result[0].value[0]".into();
    assert!(matches!(ask(path, Access::default()).await.0, Answer::Value(time) if time > 1e9));
    // Both sides, each with its own revision.
    let mut both = prometheus(&address, query, None);
    both.compare = Some(Compare {
        tolerance: 0.1,
        worse: Default::default(),
        alpha: Compare::alpha(),
        effect: Compare::effect(),
        min_samples: Compare::min_samples(),
    });
    let pair = Answer::Pair {
        canary: 0.31,
        stable: 0.29,
    };
    assert_eq!(ask(both, Access::default()).await.0, pair);
    // It is gone.
    let port = server.port;
    drop(server);
    let said = error(by(query).await.0);
    assert!(said.contains("no connection"), "{port}: {said}");
    assert_eq!(metric().name, "checkout");
}

#[tokio::test]
async fn tls_and_logins_are_asked_for_and_a_wrong_one_is_an_error() {
    let server = start(true).await;
    let folder = server.folder.path();
    let address = format!("https://127.0.0.1:{}", server.port);
    let password = folder.join("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let login = |ca: Option<&str>| Login {
        signing_key: None,
        credential: Some(Credential::Basic {
            username: "frd".into(),
            password: Secret::File(password.clone()),
        }),
        ca: ca.map(|name| std::fs::read(folder.join(name)).unwrap()),
        origins: ["https://127.0.0.1", "https://localhost", "http://127.0.0.1"]
            .map(|host| format!("{host}:{}", server.port))
            .into(),
    };
    let by = |login: Login| {
        ask(
            prometheus(&address, "vector(1)", Some("own")),
            access("own", login),
        )
    };
    // It answers 503 until it has read its data.
    let ready = |(answer, _): &(Answer, _)| *answer == Answer::Value(1.0);
    until("an answer", || by(login(Some("own-ca.pem"))), ready).await;
    for (ca, what) in [
        (Some("other-ca.pem"), "another authority"),
        (None, "the system's authorities"),
    ] {
        let said = error(by(login(ca)).await.0);
        assert!(said.contains("certificate"), "{what}: {said}");
    }
    // By another name than the certificate's.
    let elsewhere = format!("https://localhost:{}", server.port);
    let metric = prometheus(&elsewhere, "vector(1)", Some("own"));
    let said = error(
        ask(metric, access("own", login(Some("own-ca.pem"))))
            .await
            .0,
    );
    assert!(said.contains("certificate"), "{said}");
    // What speaks TLS is asked without it.
    let plain = address.replace("https", "http");
    let metric = prometheus(&plain, "vector(1)", Some("own"));
    let said = error(
        ask(metric, access("own", login(Some("own-ca.pem"))))
            .await
            .0,
    );
    assert!(said.contains("400"), "{said}");
    std::fs::write(&password, "hunter3").unwrap();
    let said = error(by(login(Some("own-ca.pem"))).await.0);
    assert!(said.contains("401") && !said.contains("hunter"), "{said}");
    std::fs::remove_file(&password).unwrap();
    let said = error(by(login(Some("own-ca.pem"))).await.0);
    assert!(said.contains("password"), "{said}");
    // A login that is for another address is shown to nobody.
    let mut bound = login(Some("own-ca.pem"));
    bound.origins = BTreeSet::from(["https://prometheus:9090".to_owned()]);
    let said = error(by(bound).await.0);
    assert!(said.contains("https://prometheus:9090"), "{said}");
}
