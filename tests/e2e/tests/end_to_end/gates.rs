//! Gates: webhooks on a real receiver, jobs before traffic on a real Swarm, freeze windows, and approval by role.

#![expect(
    clippy::unwrap_used,
    reason = "the steps that the test is made of fail the test"
)]

use std::sync::{Arc, Mutex};

use anyhow::{Context as _, Result, ensure};
use fm_e2e::{Plan, World, runs, stable_is};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "a key of the test";

/// One call, as it came.
#[derive(Debug, Clone)]
struct Call {
    head: String,
    text: String,
    body: Value,
}

impl Call {
    fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn when(&self) -> &str {
        self.body["when"].as_str().unwrap_or_default()
    }
}

/// Takes calls, and answers each `when` with the status that is set for it: 200 unless one is.
#[derive(Clone, Default)]
struct Receiver {
    calls: Arc<Mutex<Vec<Call>>>,
    answers: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Receiver {
    async fn start() -> Result<(Self, String)> {
        let receiver = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        let taking = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let taking = taking.clone();
                tokio::spawn(async move { taking.take(stream).await });
            }
        });
        Ok((receiver, address))
    }

    async fn take(&self, mut stream: TcpStream) -> Result<()> {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await?;
            ensure!(read > 0, "the call broke off");
            bytes.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.to_lowercase();
            let length = length
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                break (head.to_lowercase(), body.to_owned());
            }
        };
        let call = Call {
            head,
            body: serde_json::from_str(&body)?,
            text: body,
        };
        let when = call.when().to_owned();
        let status = {
            let mut answers = self.answers.lock().unwrap();
            let place = answers.iter().position(|(of, _)| *of == when);
            let status = place.map_or(200, |place| answers[place].1);
            // An error of the server passes; what somebody refuses stays refused.
            if status >= 500 {
                answers.retain(|(of, _)| *of != when);
            }
            status
        };
        self.calls.lock().unwrap().push(call);
        let answer =
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 7\r\n\r\nnot yet");
        stream.write_all(answer.as_bytes()).await?;
        Ok(())
    }

    fn set(&self, when: &str, status: u16) {
        self.answers.lock().unwrap().push((when.to_owned(), status));
    }

    fn allow(&self, when: &str) {
        self.answers.lock().unwrap().retain(|(of, _)| of != when);
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    fn order(&self) -> Vec<String> {
        let mut order: Vec<String> = self.calls().iter().map(|c| c.when().to_owned()).collect();
        order.dedup();
        order
    }
}

fn hooks(address: &str, whens: &[&str]) -> String {
    let hook = |when: &&str| {
        format!(
            "    - {{ name: {}, when: {when}, url: \"{address}/hook\", authRef: ci, interval: 1s, metadata: {{ build: \"{{{{image}}}}\" }} }}\n",
            when.to_lowercase()
        )
    };
    format!(
        "  webhooks:\n{}",
        whens.iter().map(hook).collect::<String>()
    )
}

/// The revision's own image: `CRASH` is the code that it ends with.
fn migrate(code: u8, reversible: bool) -> String {
    format!(
        "  beforeTraffic:\n    - {{ name: migrate, env: {{ CRASH: \"{code}\" }}, timeout: 30s, reversible: {reversible} }}\n"
    )
}

fn with(steps: &str, more: String) -> Plan {
    Plan {
        steps: steps.to_owned(),
        analysis: "{ disabled: true }".to_owned(),
        more,
        ..Plan::default()
    }
}

const ONE: &str = "[{ weight: 10, hold: 1s }]";

#[tokio::test]
async fn a_rollout_waits_for_webhooks_jobs_windows_and_roles_and_says_so() -> Result<()> {
    let (receiver, address) = Receiver::start().await?;
    let folder = tempfile::tempdir()?;
    let (config, key) = (folder.path().join("frd.yaml"), folder.path().join("key"));
    std::fs::write(&key, format!("{KEY}\n"))?;
    let text = format!(
        "providers: {{ ci: {{ signingKey: {{ file: key }}, addresses: [\"{address}\"] }} }}\nwebhookAddresses: [\"{address}\"]\nroles: {{ ops: {{ groups: [root] }}, dba: {{ users: [nobody] }} }}\n"
    );
    let (chat, chat_address) = Receiver::start().await?;
    std::fs::write(
        folder.path().join("chat"),
        format!("{chat_address}/T0/secret\n"),
    )?;
    let (few, few_address) = Receiver::start().await?;
    std::fs::write(folder.path().join("few"), format!("{few_address}/\n"))?;
    // Nobody listens there: what waits for it holds nothing up.
    std::fs::write(folder.path().join("dead"), "http://127.0.0.1:1/\n")?;
    let text = text
        + "notifications:
  - { name: dead, webhook: { url: { file: dead } } }
  - { name: chat, slack: { url: { file: chat } }, reasons: [Promoted, Failed], template: '{{release}} {{reason}}: {{message}}' }
  - { name: few, slack: { url: { file: few } }, limit: { count: 1, per: 3s } }
  - { name: tool, webhook: { url: { file: chat } }, signingKey: { file: key }, severity: warning, reasons: [Failed] }
";
    std::fs::write(&config, text)?;
    let config = config.to_str().context("a path that is no text")?;
    let mut world = World::with(None, &["--config", config]).await?;
    world.first(&with(ONE, String::new())).await?;

    webhooks(&mut world, &receiver, &address).await?;
    failing_job(&mut world, &receiver, &address).await?;
    freeze(&mut world).await?;
    roles(&mut world).await?;
    irreversible(&mut world).await?;
    notifications(&mut world, &chat).await?;
    let told: Vec<String> = few
        .calls()
        .iter()
        .map(|call| call.body["text"].to_string())
        .collect();
    let summed = told
        .iter()
        .filter(|text| text.contains("more were left out"));
    assert!(summed.count() > 0 && told.len() > 3, "{told:#?}");
    older(&mut world).await?;
    world.end().await;
    Ok(())
}

async fn webhooks(world: &mut World, receiver: &Receiver, address: &str) -> Result<()> {
    let all = [
        "confirmRollout",
        "beforeRollout",
        "confirmStep",
        "beforeStep",
        "confirmPromotion",
        "beforePromotion",
        "afterPromotion",
    ];
    let smoke = "    - { name: smoke, env: { CRASH: \"0\" }, timeout: 30s, withTasks: true }\n";
    let plan = with(ONE, hooks(address, &all) + &migrate(0, true) + smoke);
    receiver.set("beforeRollout", 503);
    // Taken in, which is well where nobody is asked to agree.
    receiver.set("beforeStep", 202);
    receiver.set("confirmPromotion", 403);
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(&plan, "somebody's yes to be waited for", 60, |view| {
            let why = view["status"]["why"].as_str().unwrap_or_default();
            view["status"]["reason"] == "WaitsForGate" && why.contains("HTTP 403: not yet")
        })
        .await?;
    assert_eq!(view["status"]["weight"], 10.0, "{view:#}");
    for job in ["migrate", "smoke"] {
        let ended = &view["jobs"][format!("_beforeTraffic/{job}")]["exitCode"];
        assert_eq!(*ended, 0, "{job}: {view:#}");
    }
    receiver.allow("confirmPromotion");
    world
        .wait(&plan, "v2 to be promoted", 60, |view| stable_is(view, "v2"))
        .await?;
    world
        .wait(&plan, "the end to be told", 30, |_| {
            receiver.order().last().map(String::as_str) == Some("afterPromotion")
        })
        .await?;
    assert_eq!(receiver.order(), all);
    let calls = receiver.calls();
    let asked: Vec<&Call> = calls
        .iter()
        .filter(|c| c.when() == "beforeRollout")
        .collect();
    assert_eq!(asked.len(), 2, "tried again after the 503");
    assert_eq!(asked[0].body["id"], asked[1].body["id"]);
    let ended = calls.last().context("no call")?;
    assert_eq!(ended.body["rollout"]["outcome"], "promoted", "{ended:?}");
    assert!(
        ended.body["metadata"]["build"]
            .as_str()
            .is_some_and(|image| image.ends_with(":v2")),
        "{ended:?}"
    );
    for call in &calls {
        let (id, at) = (
            call.body["id"].as_str().unwrap_or_default(),
            call.header("webhook-timestamp"),
        );
        let at: i64 = at.context("no time")?.parse()?;
        let signed = fm_web::sign(KEY, id, at, call.text.as_bytes()).map_err(anyhow::Error::msg)?;
        // What came was put into small letters with the other headers.
        assert_eq!(
            call.header("webhook-signature"),
            Some(signed.to_lowercase().as_str())
        );
    }
    Ok(())
}

async fn failing_job(world: &mut World, receiver: &Receiver, address: &str) -> Result<()> {
    let plan = with(ONE, hooks(address, &["afterRollback"]) + &migrate(3, false));
    world.apply(&plan, "bad").await?;
    let view = world
        .wait(&plan, "the failing job to end the rollout", 60, |view| {
            runs(&view["status"]["lastRollout"], "bad")
        })
        .await?;
    let last = &view["status"]["lastRollout"];
    assert_eq!(last["reason"], "BeforeTrafficFailed", "{last:#}");
    let why = last["why"].as_str().unwrap_or_default();
    assert!(
        why.contains("exit code 3") && why.contains("told to crash"),
        "{why}"
    );
    let (_, told) = world.frctl(&["describe", "shop"]).await?;
    assert!(told.contains("told to crash"), "its log is kept: {told}");
    world
        .wait(&plan, "the end to be told", 30, |_| {
            receiver.order().last().map(String::as_str) == Some("afterRollback")
        })
        .await?;
    Ok(())
}

async fn freeze(world: &mut World) -> Result<()> {
    let now = jiff::Timestamp::now();
    let day = |days: i64| {
        let at = now.checked_add(jiff::SignedDuration::from_hours(24 * days))?;
        anyhow::Ok(at.strftime("%Y-%m-%dT%H:%M").to_string())
    };
    // One that is over begins with it; the other one began an hour ago.
    let began = now.checked_sub(jiff::SignedDuration::from_hours(1))?;
    let window = format!(
        "  freeze:\n    - {{ from: \"{}\", to: \"{}\" }}\n    - {{ cron: \"{}\", duration: 3h, message: inventory }}\n",
        day(-2)?,
        day(-1)?,
        began.strftime("%-M %-H %-d %-m *")
    );
    let plan = with(ONE, window);
    world.apply(&plan, "v1").await?;
    let view = world
        .wait(&plan, "the window to be told", 30, |view| {
            view["status"]["reason"] == "Frozen" && view["status"]["until"].is_string()
        })
        .await?;
    let why = view["status"]["why"].as_str().unwrap_or_default();
    assert!(why.contains("inventory"), "{why}");
    assert_eq!(view["status"]["canary"]["replicas"], 0, "{view:#}");
    let (code, said) = world
        .frctl(&["rollout", "promote", "shop", "--override-freeze"])
        .await?;
    assert!(code == 2 && said.contains("--why"), "{code}: {said}");
    let word = [
        "rollout",
        "promote",
        "shop",
        "--override-freeze",
        "--why",
        "the leak",
    ];
    let (code, said) = world.frctl(&word).await?;
    assert_eq!(code, 0, "{said}");
    let view = world
        .wait(&plan, "v1 to be promoted", 60, |view| stable_is(view, "v1"))
        .await?;
    let kept = &view["target"]["history"]
        .as_array()
        .and_then(|all| all.last())
        .context("no history")?["thawed"];
    assert_eq!(
        (&kept["by"], &kept["why"]),
        (&"root".into(), &"the leak".into())
    );
    Ok(())
}

async fn roles(world: &mut World) -> Result<()> {
    let asks = |role: &str| {
        with(
            &format!("[{{ weight: 10, approval: {{ role: {role} }} }}]"),
            String::new(),
        )
    };
    let plan = asks("dba");
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "an approval to be waited for", 60, |view| {
            view["status"]["reason"] == "WaitsForApproval"
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert!(
        code == 1 && said.contains("it needs the role dba, which nobody may"),
        "{code}: {said}"
    );
    // Another manifest takes no approval from a rollout that waits for it: it holds from the next one on.
    let plan = asks("ops");
    world.apply(&plan, "v2").await?;
    world
        .wait(&plan, "the approval to stay", 30, |view| {
            view["status"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("not for this rollout"))
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert_eq!(code, 0, "what the new one asks for counts at once: {said}");
    world
        .wait(&plan, "the approval that was kept", 30, |view| {
            view["status"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("with the role dba"))
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert!(code == 1 && said.contains("role dba"), "{code}: {said}");
    let (code, said) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert_eq!(code, 0, "{said}");
    world
        .wait(&plan, "the rollout to end", 60, |view| {
            view["status"]["canary"].is_null()
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "retry", "shop"]).await?;
    assert_eq!(code, 0, "{said}");
    world
        .wait(&plan, "the role to be told", 60, |view| {
            view["status"]["why"]
                .as_str()
                .is_some_and(|why| why.contains("the role ops"))
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "promote", "shop"]).await?;
    assert_eq!(code, 0, "{said}");
    world
        .wait(&plan, "v2 to be promoted", 60, |view| stable_is(view, "v2"))
        .await?;
    Ok(())
}

async fn irreversible(world: &mut World) -> Result<()> {
    let plan = with("[{ weight: 10, approval: manual }]", migrate(0, false));
    world.apply(&plan, "v1").await?;
    world
        .wait(&plan, "10 %", 60, |view| {
            view["status"]["reason"] == "WaitsForApproval"
        })
        .await?;
    let (code, said) = world.frctl(&["rollout", "abort", "shop"]).await?;
    assert!(
        code == 1 && said.contains("migrate is not reversible"),
        "{code}: {said}"
    );
    let (code, said) = world
        .frctl(&["rollout", "abort", "shop", "--force", "--why", "restored"])
        .await?;
    assert_eq!(code, 0, "{said}");
    world
        .wait(&plan, "v1 to be taken back", 60, |view| {
            let last = &view["status"]["lastRollout"];
            last["outcome"] == "aborted"
                && last["why"]
                    .as_str()
                    .is_some_and(|why| why.contains("restored"))
        })
        .await?;
    Ok(())
}

/// What the job has done stays done: whatever is older waits for somebody's word.
async fn older(world: &mut World) -> Result<()> {
    let approval = |view: &Value| view["status"]["reason"] == "WaitsForApproval";
    // Its job ran before; it was promoted since.
    world
        .wait(&with(ONE, String::new()), "v1 to be stable", 60, |view| {
            stable_is(view, "v1")
        })
        .await?;
    let plan = with("[{ weight: 10, approval: manual }]", String::new());
    world.apply(&plan, "v2").await?;
    let view = world
        .wait(&plan, "what is older to wait", 60, |view| {
            view["status"]["reason"] == "Irreversible"
        })
        .await?;
    assert_eq!(view["status"]["waitsForPerson"], true, "{view:#}");
    let (_, said) = world.frctl(&["get", "--problems"]).await?;
    assert!(
        said.contains("older than what the job migrate") && said.contains("frctl rollout retry"),
        "{said}"
    );
    world.apply(&plan, "v1").await?;
    world
        .wait(&plan, "v1 to be what is wanted", 60, |view| {
            stable_is(view, "v1")
        })
        .await?;
    let undo = ["rollout", "undo", "shop", "--to", "2"];
    let (code, said) = world.frctl(&undo).await?;
    assert!(
        code == 1 && said.contains("migrate of a later revision is not reversible"),
        "{code}: {said}"
    );
    let (code, said) = world.frctl(&[&undo[..], &["--force"]].concat()).await?;
    assert_eq!(code, 0, "{said}");
    world.wait(&plan, "v2 to begin", 60, approval).await?;
    Ok(())
}

/// What was told meanwhile, in order; and nothing of it again by the next frd.
async fn notifications(world: &mut World, chat: &Receiver) -> Result<()> {
    let told = || {
        let calls = chat.calls();
        let texts = calls.iter().filter(|call| call.body.get("id").is_none());
        let texts = texts.filter_map(|call| Some(call.body["text"].as_str()?.to_owned()));
        texts.collect::<Vec<String>>()
    };
    // A revision that is promoted again within half a minute is the same event in the same words, and is told once.
    let (reasons, texts) = (["Promoted", "Promoted", "Failed"], told());
    assert_eq!(texts.len(), reasons.len(), "{texts:#?}");
    for (text, reason) in texts.iter().zip(reasons) {
        assert!(
            text.starts_with(&format!("shop {reason}: revision ")),
            "{texts:#?}"
        );
    }
    let calls = chat.calls();
    let tool: Vec<&Call> = calls
        .iter()
        .filter(|call| call.body.get("id").is_some())
        .collect();
    assert_eq!(tool.len(), 1, "{tool:#?}");
    assert_eq!(
        (&tool[0].body["reason"], &tool[0].body["severity"]),
        (&"Failed".into(), &"warning".into())
    );
    assert!(
        tool[0]
            .header("webhook-signature")
            .is_some_and(|signature| signature.starts_with("v1,"))
    );

    world.stack.kill_frd().await?;
    world.stack.spawn()?;
    world.stack.ready().await?;
    let plan = with(ONE, String::new());
    world.apply(&plan, "v1").await?;
    let (code, said) = world.frctl(&["rollout", "retry", "shop"]).await?;
    assert_eq!(code, 0, "{said}");
    world
        .wait(&plan, "the next promotion to be told", 60, |_| {
            told().len() > reasons.len()
        })
        .await?;
    assert_eq!(told().len(), reasons.len() + 1, "{:#?}", told());
    let log = std::fs::read_to_string(world.stack.log_file())?;
    assert!(!log.contains("T0/secret"), "an address may be a secret");
    Ok(())
}
