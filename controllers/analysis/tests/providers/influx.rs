//! A real InfluxDB, with TLS and a login.

use std::path::Path;

use fm_analysis::metrics::plan::Answer;
use fm_analysis::metrics::{Access, Credential, Login, Secret};
use fm_api::criteria::metrics::{InfluxSource, Metric};
use fm_harness::free_port;

use super::ask::{CANARY, STABLE, access, ask, error, metric};
use super::real::{Server, certificate, until};

async fn start() -> Server {
    let prepare = |folder: &Path, port: u16| {
        certificate(folder, "own");
        certificate(folder, "other");
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n[meta]\ndir = \"meta\"\n[data]\ndir = \"data\"\nwal-dir = \"wal\"\n[monitor]\nstore-enabled = false\n[http]\nbind-address = \"127.0.0.1:{port}\"\nauth-enabled = true\nhttps-enabled = true\nhttps-certificate = \"own.crt\"\nhttps-private-key = \"own.key\"\n",
            free_port().unwrap()
        );
        std::fs::write(folder.join("influxdb.conf"), config).unwrap();
        vec!["run".into(), "-config".into(), "influxdb.conf".into()]
    };
    let mut server = Server::start("influxd", "influxdb", prepare);
    server.accepts().await;
    server
}

fn login(server: &Server, password: &str, ca: &str) -> Login {
    let file = server.folder.path().join(format!("password-{password}"));
    std::fs::write(&file, password).unwrap();
    Login {
        credential: Some(Credential::Basic {
            username: "frd".into(),
            password: Secret::File(file),
        }),
        ca: Some(std::fs::read(server.folder.path().join(ca)).unwrap()),
        origins: [format!("https://127.0.0.1:{}", server.port)].into(),
        ..Login::default()
    }
}

fn query(server: &Server, query: &str) -> Metric {
    Metric {
        influx: Some(InfluxSource {
            address: format!("https://127.0.0.1:{}", server.port),
            database: "shop".into(),
            query: query.to_owned(),
            auth_ref: Some("own".into()),
        }),
        ..metric()
    }
}

/// Makes the user and the database, and writes a few points.
async fn fill(server: &Server) {
    let ca = std::fs::read(server.folder.path().join("own-ca.pem")).unwrap();
    let client = reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(&ca).unwrap())
        .build()
        .unwrap();
    let to = |path: &str| format!("https://127.0.0.1:{}/{path}", server.port);
    let user = "CREATE USER frd WITH PASSWORD 'hunter2' WITH ALL PRIVILEGES";
    let ask = || async {
        let sent = client.post(asked(&to("query"), user)).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    };
    until("the first user", ask, |made| *made).await;
    let made = client.post(asked(&to("query"), "CREATE DATABASE shop"));
    let made = made
        .basic_auth("frd", Some("hunter2"))
        .send()
        .await
        .unwrap();
    assert!(made.status().is_success());
    let points = format!(
        "checkout,revision={CANARY} ratio=0.31,count=4i\ncheckout,revision={STABLE} ratio=0.29,count=5i\n"
    );
    let wrote = client.post(to("write?db=shop")).body(points);
    let wrote = wrote
        .basic_auth("frd", Some("hunter2"))
        .send()
        .await
        .unwrap();
    assert!(wrote.status().is_success(), "{:?}", wrote.text().await);
}

fn asked(address: &str, query: &str) -> reqwest::Url {
    reqwest::Url::parse_with_params(address, [("q", query)]).unwrap()
}

#[tokio::test]
async fn a_real_influxdb_is_asked_with_tls_and_a_login() {
    // As frd does when it starts: an earlier one of the process is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = start().await;
    fill(&server).await;
    let right = || access("own", login(&server, "hunter2", "own-ca.pem"));
    let by = |text: &str| ask(query(&server, text), right());
    let mean = r#"SELECT mean("ratio") FROM checkout WHERE revision = '{{revision}}'"#;
    assert_eq!(by(mean).await.0, Answer::Value(0.31));
    assert_eq!(
        by("SELECT sum(count) FROM checkout").await.0,
        Answer::Value(9.0)
    );
    for none in [
        "SELECT mean(ratio) FROM checkout WHERE revision = 'other'",
        "SELECT mean(ratio) FROM nothing",
    ] {
        let (answer, _) = by(none).await;
        assert!(matches!(answer, Answer::NoData(_)), "{none}: {answer:?}");
    }
    for (text, says) in [
        (
            "SELECT mean(ratio) FROM checkout GROUP BY revision",
            "2 series",
        ),
        ("SELECT ratio FROM checkout", "2 rows"),
        ("SELECT mean(ratio), sum(count) FROM checkout", "2 values"),
        ("SELECT mean(ratio FROM", "error parsing"),
        // By GET too this InfluxDB would do as told, with a warning.
        ("DROP DATABASE shop", "only one SELECT"),
        (
            "SELECT mean(ratio) FROM checkout; DROP DATABASE shop",
            "only one SELECT",
        ),
        ("SELECT ratio INTO other FROM checkout", "only one SELECT"),
    ] {
        let said = error(by(text).await.0);
        assert!(said.contains(says), "{text}: {said}");
    }
    assert_eq!(by(mean).await.0, Answer::Value(0.31));
    let wrong = access("own", login(&server, "hunter3", "own-ca.pem"));
    let said = error(ask(query(&server, mean), wrong).await.0);
    assert!(said.contains("401") && !said.contains("hunter"), "{said}");
    let other = access("own", login(&server, "hunter2", "other-ca.pem"));
    let said = error(ask(query(&server, mean), other).await.0);
    assert!(said.contains("certificate"), "{said}");
    let mut nobody = query(&server, mean);
    nobody.influx.as_mut().unwrap().auth_ref = None;
    error(ask(nobody, Access::default()).await.0);
}
