//! The controller against a real Docker Swarm and a real store.
//!
//! Each test has a release, a store and an image of its own, and removes what it made.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not there fails the test, and clippy sees only the test functions themselves as tests"
)]

mod jobs;
mod lab;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use fm_api::observed::{Endpoint, FailureKind};
use fm_swarm::Kind;
use serde_json::json;

use crate::lab::{Lab, docker, engine};

fn answer(endpoint: &Endpoint) -> String {
    let mut stream = TcpStream::connect(&endpoint.addresses[&8080]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn tasks(seen: &fm_api::observed::SwarmRevision) -> Vec<String> {
    seen.ready
        .iter()
        .map(|endpoint| endpoint.task.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_is_created_reached_scaled_restarted_and_removed() {
    let mut lab = Lab::start("life").await;
    let workload = lab.workload(json!({ "env": { "A": "1" } }));
    let id = lab.revision(&workload).await;
    assert!(
        lab.observed()
            .await
            .unwrap()
            .resolution
            .unwrap()
            .image
            .unwrap()
            .pinned
            .starts_with("sha256:")
    );

    let generation = lab.want(&[(&id, 2, 0)]).await;
    let two = lab.until_ready(&id, 2).await;
    assert!(answer(&two.ready[0]).ends_with("ok"));
    assert!(answer(&two.ready[1]).ends_with("ok"));
    lab.until("the generation", |seen| seen.generation == generation)
        .await;

    lab.want(&[(&id, 3, 0)]).await;
    let three = lab.until_ready(&id, 3).await;
    assert!(
        tasks(&two).iter().all(|task| tasks(&three).contains(task)),
        "scaling replaced tasks"
    );

    lab.want(&[(&id, 2, 1)]).await;
    let again = lab
        .until_revision("new tasks", &id, |seen| {
            seen.restarts == 1
                && seen.ready.len() == 2
                && seen.leaving.is_empty()
                && seen.starting == 0
                && !tasks(seen).iter().any(|task| tasks(&three).contains(task))
        })
        .await;
    assert_eq!(again.failed_tasks, 0, "{again:?}");

    lab.want(&[]).await;
    lab.until("the service's end", |seen| seen.revisions.is_empty())
        .await;
    let name = format!("name={}", lab.service(&id));
    assert_eq!(docker(&["service", "ls", "-q", "-f", &name]), "");

    let gone = fm_store::Txn::new().delete(lab.key.target());
    lab.store.commit(gone).await.unwrap();
    for _ in 0..200 {
        if lab.observed().await.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("what was observed of a release that is gone is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_change_is_put_back_and_what_is_theirs_is_left_alone() {
    let mut lab = Lab::start("drift").await;
    let first = lab.revision(&lab.workload(json!({}))).await;
    let second = lab
        .revision(&lab.workload(json!({ "env": { "B": "2" } })))
        .await;
    // A stranger has the second revision's name already, and another one a name like ours.
    let stranger = lab.service(&second);
    let lookalike = format!("{stranger}x");
    for name in [&stranger, &lookalike] {
        docker(&[
            "service",
            "create",
            "-d",
            "-q",
            "--no-resolve-image",
            "--stop-grace-period",
            "1s",
            "--name",
            name,
            &lab.image,
        ]);
    }
    lab.want(&[(&first, 1, 0), (&second, 1, 0)]).await;
    lab.until_ready(&first, 1).await;
    let taken = lab
        .until_revision("a word on the taken name", &second, |seen| {
            !seen.failures.is_empty()
        })
        .await;
    assert_eq!(taken.failures[0].kind, FailureKind::Rejected);
    assert!(taken.failures[0].message.contains("left untouched"));

    let ours = lab.service(&first);
    docker(&["service", "scale", "-d", &format!("{ours}=3")]);
    lab.until("an event on the drift", |_| true).await;
    until_event(&lab, "DriftRepaired", "replicas are 3 instead of 1").await;
    lab.until_ready(&first, 1).await;
    docker(&[
        "service",
        "update",
        "-d",
        "-q",
        "--no-resolve-image",
        "--env-add",
        "EVIL=1",
        &ours,
    ]);
    until_event(
        &lab,
        "DriftRepaired",
        "TaskTemplate.ContainerSpec.Env was changed",
    )
    .await;
    lab.until_ready(&first, 1).await;
    docker(&["service", "rm", &ours]);
    until_event(&lab, "DriftRepaired", "was removed by somebody else").await;
    lab.until_ready(&first, 1).await;
    // The engine itself grows the version in mid-update; what we did is in the events.
    let repairs = lab.events().await.len();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(
        lab.events().await.len(),
        repairs,
        "it is changed again and again"
    );
    for name in [&stranger, &lookalike] {
        let created = docker(&[
            "service",
            "inspect",
            "-f",
            "{{.CreatedAt}} {{.UpdatedAt}}",
            name,
        ]);
        let (created, updated) = created.split_at(created.len() / 2);
        assert_eq!(created[..19], updated.trim()[..19], "{name} was touched");
    }

    docker(&["service", "rm", &stranger]);
    lab.until_ready(&second, 1).await;
}

async fn until_event(lab: &Lab, reason: &str, words: &str) {
    for _ in 0..600 {
        let found = lab.events().await;
        if found
            .iter()
            .any(|(r, message)| r == reason && message.contains(words))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "no event {reason} with `{words}`: {:#?}",
        lab.events().await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_told_in_dockers_words() {
    let mut lab = Lab::start("fail").await;
    let crash = lab
        .revision(&lab.workload(json!({ "args": ["exit", "3"] })))
        .await;
    let sick =
        json!({ "test": ["CMD", "/served", "exit", "1"], "interval": "300ms", "retries": 1 });
    let sick = lab
        .revision(&lab.workload(json!({ "healthcheck": sick })))
        .await;
    let nowhere = json!({ "constraints": ["node.labels.zone == nowhere"] });
    let nowhere = lab
        .revision(&lab.workload(json!({ "placement": nowhere })))
        .await;
    let missing = lab
        .revision(&lab.workload(json!({ "env": { "N": "1" } })))
        .await;
    let no_image = format!("sha256:{}", "0".repeat(64));
    lab.tamper(&missing, |spec| {
        spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!(no_image)
    });
    let refused = json!({ "constraints": ["nonsense"] });
    let refused = lab
        .revision(&lab.workload(json!({ "placement": refused })))
        .await;

    let all = [&crash, &sick, &nowhere, &missing, &refused].map(|id| (id, 1, 0));
    lab.want(&all).await;
    let expected = [
        (&crash, FailureKind::Crashed, "task: non-zero exit (3)"),
        (&sick, FailureKind::Unhealthy, "unhealthy container"),
        (
            &nowhere,
            FailureKind::NoSuitableNode,
            "no suitable node (scheduling constraints not satisfied on 1 node)",
        ),
        (
            &missing,
            FailureKind::ImageMissing,
            "No such image: sha256:0000",
        ),
        (
            &refused,
            FailureKind::Rejected,
            "constraint expected one operator from ==, !=",
        ),
    ];
    for (id, kind, words) in expected {
        let seen = lab
            .until_revision(words, id, |seen| {
                seen.failures
                    .iter()
                    .any(|f| f.kind == kind && f.message.contains(words))
            })
            .await;
        assert!(seen.ready.is_empty(), "{seen:?}");
    }
    let crashed = lab
        .until_revision("more than one crash", &crash, |seen| seen.failed_tasks >= 2)
        .await;
    assert_eq!(crashed.failures[0].exit_code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_resolved_anew_for_each_generation_and_what_is_missing_is_named() {
    let mut lab = Lab::start("image").await;
    let first = lab.resolve(&lab.workload(json!({}))).await.image.unwrap();
    assert_eq!(
        first.pinned,
        docker(&["image", "inspect", "-f", "{{.Id}}", &lab.image])
    );

    let missing = lab
        .resolve(&lab.workload(json!({ "image": format!("sha256:{}", "0".repeat(64)) })))
        .await;
    assert!(missing.error.unwrap().contains("No such image"));
    assert!(!missing.transient);

    let away = lab
        .resolve(&lab.workload(json!({ "image": "127.0.0.1:1/shop:1" })))
        .await;
    assert!(
        away.error.as_ref().unwrap().contains("connection refused"),
        "{away:?}"
    );
    assert!(away.transient);

    let secret = json!([{ "source": "no-such-secret" }]);
    let named = lab
        .resolve(&lab.workload(json!({ "secrets": secret })))
        .await;
    assert_eq!(
        named.error.unwrap(),
        "Swarm has no secret named `no-such-secret`"
    );
    let network = lab
        .resolve(&lab.workload(json!({ "networks": ["no-such-network"] })))
        .await;
    assert_eq!(
        network.error.unwrap(),
        "Docker has no network named `no-such-network`: create it, or name another"
    );
    let login = lab
        .resolve(&lab.workload(json!({ "registryAuth": "nobody" })))
        .await;
    assert!(
        login
            .error
            .unwrap()
            .contains("registryAuth `nobody` is not in frd's configuration")
    );

    // What was missing comes, and nobody has to ask again.
    let late = format!("{}-late", lab.image);
    let wanted = lab.resolve(&lab.workload(json!({ "image": late }))).await;
    assert!(wanted.error.is_some());
    docker(&["tag", &lab.image, &late]);
    let seen = lab
        .until("the late image", |seen| {
            seen.resolution.as_ref().is_some_and(|r| r.image.is_some())
        })
        .await;
    assert_eq!(seen.resolution.unwrap().image.unwrap().pinned, first.pinned);
    docker(&["image", "rm", &late]);
}

#[tokio::test(flavor = "multi_thread")]
async fn configs_secrets_and_networks_reach_the_task_and_are_no_drift() {
    let mut lab = Lab::start("refs").await;
    let name = format!("fm-test-{}", lab.key.namespace());
    let _cleanup = References(name.clone());
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"not empty").unwrap();
    let path = file.path().display().to_string();
    docker(&["config", "create", &name, &path]);
    docker(&["secret", "create", &name, &path]);
    docker(&["network", "create", "-d", "overlay", &name]);
    let workload = lab.workload(json!({
        "configs": [{ "source": name, "target": "/etc/shop.toml", "mode": "0440" }],
        "secrets": [{ "source": name }],
        "networks": [name],
        "mounts": [{ "type": "tmpfs", "target": "/tmp" }],
        "user": "0:0",
        "labels": { "team": "shop" },
        "resources": { "limits": { "cpus": 0.5, "memory": "64Mi" }, "reservations": { "memory": "8Mi" } },
        "healthcheck": { "test": ["CMD", "/served", "exit", "0"], "interval": "500ms" },
        "placement": { "constraints": ["node.role == manager"], "preferences": ["node.labels.zone"], "maxReplicasPerNode": 3 },
    }));
    let id = lab.revision(&workload).await;
    lab.want(&[(&id, 1, 0)]).await;
    let seen = lab.until_ready(&id, 1).await;
    assert!(answer(&seen.ready[0]).ends_with("ok"));
    let service = lab.service(&id);
    let version = || docker(&["service", "inspect", "-f", "{{.Version.Index}}", &service]);
    let settled = version();

    // Another process of the program, which remembers nothing, changes nothing either.
    lab.stop_controller().await;
    lab.start_controller();
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(version(), settled);
    assert!(
        !lab.events()
            .await
            .iter()
            .any(|(reason, _)| reason == "DriftRepaired")
    );
    assert_eq!(tasks(&lab.until_ready(&id, 1).await), tasks(&seen));
    lab.want(&[]).await;
    lab.until("the service's end", |seen| seen.revisions.is_empty())
        .await;
}

/// Removes the config, the secret and the network of this name.
struct References(String);

impl Drop for References {
    fn drop(&mut self) {
        for _ in 0..30 {
            let gone = ["config", "secret", "network"].map(|kind| {
                std::process::Command::new("docker")
                    .args(["-H", &engine().address, kind, "rm", &self.0])
                    .output()
                    .is_ok_and(|o| {
                        o.status.success()
                            || String::from_utf8_lossy(&o.stderr).contains("o such")
                            || String::from_utf8_lossy(&o.stderr).contains("not found")
                    })
            });
            if gone == [true; 3] {
                return;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_superfluous_while_nobody_looked_is_removed() {
    let mut lab = Lab::start("orphan").await;
    let id = lab.revision(&lab.workload(json!({}))).await;
    lab.want(&[(&id, 1, 0)]).await;
    lab.until_ready(&id, 1).await;
    lab.stop_controller().await;
    let mut gone = fm_store::Txn::new().delete(lab.key.observed_swarm());
    for key in [lab.key.target(), lab.key.revision(&id)] {
        gone = gone.delete(key);
    }
    lab.store.commit(gone).await.unwrap();
    lab.start_controller();
    let name = format!("name={}", lab.service(&id));
    for _ in 0..300 {
        if docker(&["service", "ls", "-q", "-f", &name]).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the service of a release that is gone is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_docker_does_not_answer_everything_stays_as_it_was_last_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker.sock");
    let relay = relay(&path);
    let mut lab = Lab::start_at("away", format!("unix://{}", path.display())).await;
    let id = lab.revision(&lab.workload(json!({}))).await;
    lab.want(&[(&id, 1, 0)]).await;
    let before = lab.until_ready(&id, 1).await;
    relay.abort();
    std::fs::remove_file(&path).unwrap();
    let seen = lab
        .until("a word on Docker's absence", |seen| seen.problem.is_some())
        .await;
    assert_eq!(seen.revisions[&id].ready, before.ready);
    lab.want(&[(&id, 2, 0)]).await;
    let relay = self::relay(&path);
    lab.until("Docker's return", |seen| seen.problem.is_none())
        .await;
    lab.until_ready(&id, 2).await;
    lab.stop_controller().await;
    relay.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_says_what_it_would_do_and_does_nothing() {
    let mut lab = Lab::start("only").await;
    let id = lab.revision(&lab.workload(json!({}))).await;
    lab.stop_controller().await;
    lab.observe_only = true;
    lab.start_controller();
    lab.want(&[(&id, 1, 0)]).await;
    until_event(&lab, "WouldAct", "created service").await;
    let name = format!("name={}", lab.service(&id));
    assert_eq!(docker(&["service", "ls", "-q", "-f", &name]), "");
}

/// Carries a unix socket's connections to the engine until it is aborted.
fn relay(path: &std::path::Path) -> tokio::task::JoinHandle<()> {
    let listener = tokio::net::UnixListener::bind(path).unwrap();
    tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            all.spawn(async move {
                let socket = engine().address.trim_start_matches("unix://");
                if let Ok(mut far) = tokio::net::UnixStream::connect(socket).await {
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_that_nothing_refers_to_are_removed_and_others_stay() {
    let mut lab = Lab::start("contents").await;
    let contents = fm_swarm::Contents::new(&engine().address, lab.store.clone(), false).unwrap();
    let key = lab.key.clone();
    let keep = async |name: &'static str, content: &'static [u8]| {
        let kept = contents.keep(&key, Kind::Secret, name, content, false);
        kept.await.unwrap()
    };
    let wanted = keep("db", b"hunter2").await;
    let superfluous = keep("db", b"other").await;
    // The same content is the same object, and a dry run says the same and keeps nothing.
    assert_eq!(keep("db", b"hunter2").await, wanted);
    let dry = contents.keep(&lab.key, Kind::Secret, "db", b"third", true);
    let dry = dry.await.unwrap();
    let there = |hash: &str| {
        let filter = format!("label=fridaymorning.dev/content={hash}");
        !docker(&["secret", "ls", "-q", "-f", &filter]).is_empty()
    };
    assert!(there(&wanted) && there(&superfluous) && !there(&dry));
    let empty = contents.keep(&lab.key, Kind::Config, "x", b"", false).await;
    assert!(empty.is_err());

    let secrets = json!([{ "name": "db", "hash": wanted }]);
    let id = lab
        .revision(&lab.workload(json!({ "secrets": secrets })))
        .await;
    lab.want(&[(&id, 1, 0)]).await;
    lab.until_ready(&id, 1).await;
    let begun = std::time::Instant::now();
    while there(&superfluous) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it is still there"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(there(&wanted));

    // What a stored revision names and Swarm no longer has is said in so many words.
    let gone = json!([{ "name": "db", "hash": superfluous }]);
    let answer = lab.resolve(&lab.workload(json!({ "secrets": gone }))).await;
    let error = answer.error.unwrap();
    assert!(error.contains("apply the manifest again"), "{error}");

    lab.want(&[]).await;
    lab.until("the service's end", |seen| seen.revisions.is_empty())
        .await;
    lab.forget(&id).await;
    let begun = std::time::Instant::now();
    while there(&wanted) {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it is still there"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let key = format!(
        "label=fridaymorning.dev/managed-by={}",
        lab.installation().await
    );
    docker(&["config", "rm", &docker(&["config", "ls", "-q", "-f", &key])]);
}
