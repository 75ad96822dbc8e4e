//! What the store on etcd promises beyond the contract: outages, TLS, users.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fm_store::{Change, Expect, SharedStore, StoreError, Txn, etcd};
use tempfile::TempDir;

use crate::server::{self, Server, run};

async fn put(store: &SharedStore, value: u8) -> u64 {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        match store.commit(Txn::new().put("/p/a", vec![value])).await {
            Err(StoreError::Unavailable(_)) if Instant::now() < limit => {}
            result => return result.unwrap(),
        }
    }
}

#[tokio::test]
async fn a_watch_goes_on_after_kill_9_of_the_server_without_a_gap() {
    let mut server = Server::start();
    let store = server.connect().await;
    let from = store.list("/p/").await.unwrap().revision + 1;
    let mut watch = store.watch("/p/", from).await.unwrap();
    let mut written = Vec::new();
    for round in 0..3 {
        written.push(put(&store, round).await);
        server.kill();
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart();
        written.push(put(&store, round).await);
    }
    let mut seen = Vec::new();
    while seen.last() < written.last() {
        let batch = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
        seen.extend(
            batch
                .unwrap()
                .unwrap()
                .unwrap()
                .iter()
                .map(Change::revision),
        );
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
    assert!(
        written.iter().all(|revision| seen.contains(revision)),
        "{written:?} {seen:?}"
    );
}

#[tokio::test]
async fn what_was_compacted_during_an_outage_is_reported() {
    let mut server = Server::start();
    let store = server.connect().await;
    let mut watch = store.watch("/p/", put(&store, 0).await).await.unwrap();
    watch.next().await.unwrap().unwrap();
    // A second client writes and compacts while the first one's connection is gone.
    server.kill();
    server.restart();
    for value in 0..5 {
        server.etcdctl(&["put", "/p/a", &value.to_string()]);
    }
    let now = put(&store, 9).await;
    let old = store.watch("/p/", now - 3).await.unwrap();
    drop(old);
    server.etcdctl(&["compact", &now.to_string()]);
    let mut late = store.watch("/p/", now - 3).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(20), late.next())
        .await
        .unwrap();
    assert!(
        matches!(told, Some(Err(StoreError::Compacted { .. }))),
        "{told:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_gone_is_named_within_a_time_limit() {
    let mut server = Server::start();
    let store = server.connect().await;
    server.kill();
    let asked = Instant::now();
    for result in [
        store.get("/a").await.map(drop),
        store.commit(Txn::new().put("/a", vec![])).await.map(drop),
        store.grant(Duration::from_secs(5)).await.map(drop),
    ] {
        let Err(StoreError::Unavailable(message)) = result else {
            panic!("{result:?}");
        };
        assert!(message.contains(&server.endpoint()), "{message}");
    }
    assert!(asked.elapsed() < Duration::from_secs(20));
    let options = etcd::Options {
        endpoints: vec![server.endpoint()],
        ..etcd::Options::default()
    };
    let error = etcd::connect(options).await.err().unwrap().to_string();
    assert!(
        error.contains(&server.endpoint()) && error.contains("refused"),
        "{error}"
    );
    server.restart();
    put(&store, 1).await;
}

#[tokio::test]
async fn options_that_do_not_fit_together_are_refused_before_any_connection() {
    let plain = || etcd::Options {
        endpoints: vec!["http://127.0.0.1:1".to_owned()],
        ..etcd::Options::default()
    };
    let wrong = [
        etcd::Options::default(),
        etcd::Options {
            username: Some("fm".to_owned()),
            ..plain()
        },
        etcd::Options {
            password_file: Some("/nowhere".into()),
            ..plain()
        },
        etcd::Options {
            ca: Some("/nowhere".into()),
            ..plain()
        },
        etcd::Options {
            endpoints: vec!["https://127.0.0.1:1".to_owned()],
            ca: Some("/nowhere".into()),
            ..etcd::Options::default()
        },
    ];
    for options in wrong {
        let text = format!("{options:?}");
        let result = etcd::connect(options).await;
        assert!(matches!(result, Err(StoreError::Refused(_))), "{text}");
    }
}

fn openssl(folder: &Path, arguments: &str) {
    run(Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split(' ')));
}

/// An authority, and certificates of it for the server and the client.
fn certificates(folder: &Path) {
    let new = "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(
        folder,
        &format!("{new} -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
    );
    let names = "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n";
    std::fs::write(folder.join("names"), names).unwrap();
    for who in ["server", "client"] {
        openssl(
            folder,
            &format!("{new} -subj /CN={who} -keyout {who}.key -out {who}.csr"),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -days 2 -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out {who}.pem"
            ),
        );
    }
}

#[tokio::test]
async fn tls_and_password_let_in_who_has_both_and_tokens_are_renewed() {
    let folder = TempDir::new().unwrap();
    certificates(folder.path());
    let mut server = Server::start_in(folder, true);
    std::fs::write(server.path("password"), "s3cret word\n").unwrap();
    let options = |with_user: bool| etcd::Options {
        endpoints: vec![server.endpoint()],
        username: with_user.then(|| "fm".to_owned()),
        password_file: with_user.then(|| server.path("password")),
        ca: Some(server.path("ca.pem")),
        cert: Some(server.path("client.pem")),
        key: Some(server.path("client.key")),
        ..etcd::Options::default()
    };
    let certificates = options(true);
    // etcd's own users: the client certificate's name must not be one of them.
    for arguments in [
        &["user", "add", "root:root"][..],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "fm:s3cret word"],
        &["role", "add", "fm"],
        &[
            "role",
            "grant-permission",
            "fm",
            "--prefix=true",
            "readwrite",
            "/p/",
        ],
        &[
            "role",
            "grant-permission",
            "fm",
            "--prefix=true",
            "readwrite",
            "/fridaymorning/",
        ],
        &["user", "grant-role", "fm", "fm"],
        &["auth", "enable"],
    ] {
        server.etcdctl(arguments);
    }
    let no_certificate = etcd::Options {
        cert: None,
        key: None,
        ..options(true)
    };
    let refused = etcd::connect(no_certificate).await.err().unwrap();
    assert!(refused.to_string().contains("certificate"), "{refused}");
    let no_user = etcd::connect(options(false)).await;
    assert!(
        matches!(no_user, Err(StoreError::Refused(_))),
        "{:?}",
        no_user.err()
    );
    std::fs::write(server.path("wrong"), "wrong").unwrap();
    let wrong = etcd::Options {
        password_file: Some(server.path("wrong")),
        ..options(true)
    };
    let wrong = etcd::connect(wrong).await.err().unwrap();
    assert!(matches!(wrong, StoreError::Refused(_)), "{wrong}");
    assert!(!wrong.to_string().contains("s3cret"));

    let store = server::connect(certificates).await.unwrap();
    let first = put(&store, 1).await;
    let mut watch = store.watch("/p/", first + 1).await.unwrap();
    let outside = store.commit(Txn::new().put("/elsewhere", vec![])).await;
    assert!(
        matches!(outside, Err(StoreError::Refused(_))),
        "{outside:?}"
    );

    // etcd keeps its tokens in memory: after a restart ours is unknown.
    server.restart();
    let lease = loop {
        match store.grant(Duration::from_secs(30)).await {
            Err(StoreError::Unavailable(_)) => {}
            result => break result.unwrap(),
        }
    };
    store.keep_alive(lease).await.unwrap();
    let exists = Txn::new()
        .expect(Expect::Exists("/p/a".to_owned()))
        .put("/p/a", vec![2]);
    let second = store.commit(exists).await.unwrap();
    let seen = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    assert_eq!(seen.unwrap().unwrap().unwrap()[0].revision(), second);
}
