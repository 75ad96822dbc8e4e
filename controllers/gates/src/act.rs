//! Calls webhooks, each in a task of its own with a time limit; asks for jobs; writes down what was answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use fm_api::criteria::template;
use fm_api::gates::{Call, Due, Webhook};
use fm_api::keys::ReleaseKey;
use fm_runtime::{Context, Next, ReconcileError, Wake};
use fm_store::{Expect, Fence, Txn};
use fm_web::{Client, Request};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::plan::{self, Plan, Seen};

/// Calls at once, of all releases together.
const AT_ONCE: usize = 64;
/// No more of an answer is read.
const LONGEST: u64 = 64 * 1024;

type Answer = Result<String, String>;

/// Calls under way. Dropping one ends it.
pub(crate) struct Calls {
    client: Arc<Client>,
    wake: mpsc::Sender<Wake>,
    permits: Arc<Semaphore>,
    flying: Mutex<HashMap<ReleaseKey, BTreeMap<String, Flight>>>,
}

/// A call, and what was answered once it has ended. Dropping it ends it.
struct Flight {
    task: JoinHandle<()>,
    answer: Arc<OnceLock<Answer>>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Calls {
    pub(crate) fn new(client: Client, wake: mpsc::Sender<Wake>) -> Self {
        Self {
            client: Arc::new(client),
            wake,
            permits: Arc::new(Semaphore::new(AT_ONCE)),
            flying: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ReleaseKey, BTreeMap<String, Flight>>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those under way, by the question's id.
    pub(crate) fn calling(&self, key: &ReleaseKey) -> BTreeSet<String> {
        let flying = self.lock();
        flying
            .get(key)
            .map(|all| all.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// What has ended since the last look.
    pub(crate) fn ended(&self, key: &ReleaseKey) -> BTreeMap<String, Answer> {
        let mut flying = self.lock();
        let Some(all) = flying.get_mut(key) else {
            return BTreeMap::new();
        };
        all.extract_if(.., |_, flight| {
            flight.answer.get().is_some() || flight.task.is_finished()
        })
        .map(|(id, flight)| {
            let answer = flight.answer.get().cloned();
            (
                id,
                answer.unwrap_or_else(|| Err("the call broke off".to_owned())),
            )
        })
        .collect()
    }

    fn start(&self, key: &ReleaseKey, due: Due, hook: Webhook, attempt: u32, now: Timestamp) {
        let (client, permits) = (Arc::clone(&self.client), Arc::clone(&self.permits));
        let (of, wake) = (key.clone(), self.wake.clone());
        let (id, answer) = (due.id.clone(), Arc::<OnceLock<Answer>>::default());
        let slot = Arc::clone(&answer);
        let task = tokio::spawn(async move {
            // It is closed only with all of this.
            let _permit = permits.acquire().await;
            let limit = hook.timeout;
            let asked = call(&client, &of, &due, &hook, attempt, now);
            let said = tokio::time::timeout(limit.to_std(), asked).await;
            let said = said.unwrap_or_else(|_| Err(format!("no answer within {limit}")));
            let _ = slot.set(said);
            // The next look makes up for a wake-up that finds no room.
            let _ = wake.try_send(Wake::One(of));
        });
        let mut flying = self.lock();
        let flight = Flight { task, answer };
        flying.entry(key.clone()).or_default().insert(id, flight);
    }

    /// Ends what is due no more.
    fn keep(&self, key: &ReleaseKey, due: &[Due]) {
        let mut flying = self.lock();
        if let Some(all) = flying.get_mut(key) {
            all.retain(|id, _| due.iter().any(|due| due.id == *id));
            if all.is_empty() {
                flying.remove(key);
            }
        }
    }
}

/// Makes one call. Only an answer that says 2xx, and where a yes is asked for not 202, is one.
async fn call(
    client: &Client,
    key: &ReleaseKey,
    due: &Due,
    hook: &Webhook,
    attempt: u32,
    now: Timestamp,
) -> Answer {
    let metadata = hook.metadata.iter().map(|(name, text)| {
        let text = template::fill(text, |name| due.about.variable(key, name));
        // Validation refuses variables that do not exist.
        (name.clone(), text.unwrap_or_default())
    });
    let body = serde_json::to_string(&Call {
        id: &due.id,
        webhook: &hook.name,
        when: hook.when,
        namespace: key.namespace(),
        release: key.name(),
        attempt,
        rollout: &due.about,
        metadata: metadata.collect(),
    })
    .map_err(|error| error.to_string())?;
    let mut headers = hook.headers.clone();
    headers.insert("webhook-id".to_owned(), due.id.clone());
    headers.insert("webhook-timestamp".to_owned(), now.as_second().to_string());
    let login = hook.auth_ref.as_deref().and_then(|name| client.login(name));
    if let Some(secret) = login.and_then(|login| login.signing_key.as_ref()) {
        let signing = secret
            .read()
            .await
            .map_err(|why| format!("signingKey: {why}"))?;
        let signature = fm_web::sign(&signing, &due.id, now.as_second(), body.as_bytes())
            .map_err(|why| format!("signingKey: {why}"))?;
        headers.insert("webhook-signature".to_owned(), signature);
    }
    let request = Request {
        url: fm_web::url(&hook.url)?,
        body: Some(("application/json", body)),
        headers: Some(&headers),
        auth_ref: hook.auth_ref.as_deref(),
        limit: LONGEST,
    };
    let (status, body) = client.send(request).await?;
    let said = fm_web::start(&body);
    let words = if said.is_empty() {
        format!("HTTP {status}")
    } else {
        format!("HTTP {status}: {said}")
    };
    // Who is asked to agree and answers 202 has only taken the question in.
    let agreed = status != 202 || !hook.when.confirms();
    if (200..300).contains(&status) && agreed {
        Ok(words)
    } else {
        Err(words)
    }
}

/// Writes what was answered, asks for jobs, and calls.
pub(crate) async fn carry_out(
    ctx: &Context,
    calls: &Calls,
    key: &ReleaseKey,
    seen: &Seen,
    plan: Plan,
    fence: Option<&Fence>,
    now: Timestamp,
) -> Result<Next, ReconcileError> {
    let old = (!seen.old.answers.is_empty()).then_some(&seen.old);
    let mut txn = Txn::new();
    match &plan.observed {
        Some(observed) if Some(observed) != old => {
            txn = txn
                .expect(Expect::Exists(key.target()))
                .put(key.observed_gates(), json(observed)?);
        }
        Some(_) => {}
        None if seen.stored => txn = txn.delete(key.observed_gates()),
        None => {}
    }
    for withdrawn in &plan.withdrawn {
        txn = txn.delete(withdrawn.clone());
    }
    for due in &plan.jobs {
        let record = seen.records.get(&due.about.revision);
        let request = record.and_then(|record| plan::request(key, due, record));
        if let Some(request) = request {
            txn = txn.put(key.job(&due.measurement()), json(&request)?);
        }
    }
    if !txn.writes.is_empty() {
        ctx.store.commit(txn.fenced(fence)).await?;
    }
    calls.keep(key, &seen.due);
    for (due, hook, attempt) in plan.asks {
        calls.start(key, due, hook, attempt, now);
    }
    Ok(crate::wait(plan.next, now))
}

fn json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, ReconcileError> {
    serde_json::to_vec(value).map_err(|error| ReconcileError::Terminal(error.to_string()))
}
