//! What is refused while something runs that must not be disturbed, and what is open all the same.

#[cfg(test)]
mod support;

use fm_analysis::metrics::{Login, Secret};
use fm_api::keys::ReleaseKey;
use fm_api::policy::Policy;
use fm_store::Txn;
use fm_swarm::RegistryLogin;
use frd_daemon::api::Here;
use frd_daemon::logins::Logins;
use serde_json::{Value, json};
use support::{Server, manifest};

const SHOP: &str = "/v1/namespaces/default/releases/shop";

#[tokio::test]
async fn undo_is_open_while_a_rollout_runs_that_may_not_be_replaced() {
    let server = Server::start().await;
    let mut body = manifest("shop", "shop:1");
    body["spec"]["onNewRevision"] = json!("reject");
    server.put(SHOP, &body).await;
    server.write(support::running_rollout()).await;
    let answer = server.post(&format!("{SHOP}/undo"), &json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let image = &answer.body["release"]["spec"]["workload"]["image"];
    assert_eq!(image, support::PINNED);
}

/// The release with a job that runs now and is not reversible.
async fn migrating(server: &Server) {
    server.put(SHOP, &manifest("shop", "shop:1")).await;
    let target = json!({
        "uid": "u", "generation": 5, "specGeneration": 1,
        "due": [{
            "id": "r-1-migrate", "since": "2026-01-01T00:00:00Z",
            "job": { "name": "migrate", "reversible": false },
            "about": { "revision": "1111111111", "number": 2, "image": "shop:1", "steps": 1 },
        }],
    });
    let target = target.to_string().into_bytes();
    let key = ReleaseKey::new("default", "shop");
    server.write(Txn::new().put(key.target(), target)).await;
}

#[tokio::test]
async fn a_job_that_is_not_reversible_is_not_stopped_by_a_deletion() {
    let server = Server::start().await;
    migrating(&server).await;
    let refused = server.delete(SHOP).await;
    let message = refused.body["error"]["message"].as_str().unwrap();
    assert_eq!(refused.status, 409);
    assert!(message.contains("the job migrate"), "{message}");
    let stored = server.get(SHOP).await.body;
    assert_eq!(stored["metadata"]["deletedAt"], Value::Null);
    // It has ended, which promotion has not seen yet.
    let ended = json!({ "uid": "u", "answers": { "r-1-migrate": {
        "verdict": "yes", "attempts": 1, "said": "it ended well", "at": "2026-01-01T00:01:00Z",
    } } });
    let ended = ended.to_string().into_bytes();
    let key = ReleaseKey::new("default", "shop");
    server
        .write(Txn::new().put(key.observed_gates(), ended))
        .await;
    assert_eq!(server.delete(SHOP).await.status, 202);
}

#[tokio::test]
async fn a_deletion_by_force_stops_even_such_a_job() {
    let server = Server::start().await;
    migrating(&server).await;
    let by_force = format!("{SHOP}?force=true");
    assert_eq!(server.delete(&by_force).await.status, 202);
}

/// A manifest that names a login together with another server than the login's is refused before anything is stored.
#[tokio::test]
async fn a_login_is_not_taken_to_another_server_by_a_manifest() {
    let main = RegistryLogin {
        server: "https://registry.example.com/v2/".to_owned(),
        username: "robot".to_owned(),
        password: "hunter2".to_owned(),
    };
    let ci = Login {
        signing_key: Some(Secret::Env("HOME".to_owned())),
        origins: ["https://ci.example.com:443".to_owned()].into(),
        ..Login::default()
    };
    let logins = Logins {
        registries: [("main".to_owned(), main)].into(),
        providers: [("ci".to_owned(), ci)].into(),
    };
    let here = Here {
        logins,
        ..Here::default()
    };
    let server = Server::with(here).await;
    let own = "registry.example.com/shop:1";
    let with = |image: &str| {
        let mut body = manifest("shop", image);
        body["spec"]["workload"]["registryAuth"] = json!("main");
        body
    };
    let job = |image: &str| json!([{ "name": "migrate", "image": image, "registryAuth": "main" }]);
    let hook =
        |url: &str| json!([{ "name": "load", "when": "beforeStep", "url": url, "authRef": "ci" }]);
    let metric = |url: &str| json!({ "metrics": [{ "name": "m", "max": 1, "web": { "url": url, "jsonPath": "$", "authRef": "ci" } }] });
    let part = |name: &str, value: Value| {
        let mut body = with(own);
        body["spec"][name] = value;
        body
    };
    let evil = "evil.example.net/shop:1";
    for (body, path, asked) in [
        (with(evil), "spec.workload.registryAuth", "evil.example.net"),
        (with("shop:1"), "spec.workload.registryAuth", "docker.io"),
        (
            part("beforeTraffic", job(evil)),
            "spec.beforeTraffic[0].registryAuth",
            "evil.example.net",
        ),
        (
            part("webhooks", hook("https://evil.example.net/x")),
            "spec.webhooks[0].authRef",
            "https://evil.example.net:443",
        ),
        (
            part("analysis", metric("http://ci.example.com/x")),
            "spec.analysis.metrics[0].web.authRef",
            "http://ci.example.com:80",
        ),
    ] {
        for query in ["", "?dryRun=server"] {
            let answer = server.put(&format!("{SHOP}{query}"), &body).await;
            assert_eq!(answer.status, 422, "{}", answer.body);
            let problem = &answer.body["error"]["problems"][0];
            assert_eq!(problem["path"], path, "{}", answer.body);
            let said = problem["message"].as_str().unwrap();
            let (name, server) = if path.ends_with("registryAuth") {
                ("`main`", "registry.example.com")
            } else {
                ("`ci`", "https://ci.example.com:443")
            };
            assert!(
                said.contains(name) && said.contains(server) && said.contains(asked),
                "{said}"
            );
        }
    }
    let mut good = part("webhooks", hook("https://CI.example.com/x"));
    good["spec"]["beforeTraffic"] = job("registry.example.com/tools:1");
    let answer = server.put(SHOP, &good).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// What makes somebody root on a node is refused with the rule's and the field's name; what was stored before goes on.
#[tokio::test]
async fn a_rule_of_the_installation_refuses_what_is_asked_for_anew() {
    let server = Server::start().await;
    let mut body = manifest("shop", "shop:1");
    body["spec"]["workload"]["mounts"] =
        json!([{ "type": "bind", "source": "/", "target": "/host", "readOnly": true }]);
    for query in ["", "?dryRun=server"] {
        let answer = server.put(&format!("{SHOP}{query}"), &body).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        let problem = &answer.body["error"]["problems"][0];
        assert_eq!(problem["path"], "spec.workload.mounts[0].source");
        let said = problem["message"].as_str().unwrap();
        assert!(
            said.contains("the rule `policy.mounts` of frd.yaml refuses `/`"),
            "{said}"
        );
    }
    // It was stored before there were rules.
    let here = Here {
        policy: Policy::open(),
        ..Here::default()
    };
    let before = Server::with(here).await;
    let old = before.put(SHOP, &body).await.body["release"].to_string();
    let key = ReleaseKey::new("default", "shop");
    let txn = Txn::new().put(key.release(), old.into_bytes());
    server.write(txn).await;
    body["spec"]["replicas"] = json!(3);
    assert_eq!(server.put(SHOP, &body).await.status, 200);
    body["spec"]["workload"]["image"] = json!("shop:2");
    let answer = server.put(SHOP, &body).await;
    assert_eq!(answer.status, 422, "{}", answer.body);
}

/// What a tag means is asked anew where somebody says so, and only then.
#[tokio::test]
async fn a_tag_is_looked_up_again_when_somebody_asks_for_it() {
    let server = Server::start().await;
    let body = manifest("shop", "shop:latest");
    server.put(SHOP, &body).await;
    assert_eq!(server.put(SHOP, &body).await.body["result"], "unchanged");
    let answer = server.put(&format!("{SHOP}?pull=true"), &body).await;
    let metadata = &answer.body["release"]["metadata"];
    assert_eq!(
        (&metadata["generation"], &metadata["pulled"]),
        (&json!(2), &json!(2))
    );
    let said = answer.body["message"].as_str().unwrap();
    assert!(said.starts_with("asks anew what shop:latest is"), "{said}");
    let answer = server.put(SHOP, &body).await;
    assert_eq!(
        (
            &answer.body["result"],
            &answer.body["release"]["metadata"]["pulled"]
        ),
        (&json!("unchanged"), &json!(2))
    );
}
