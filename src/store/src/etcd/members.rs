//! The members of etcd, a client of its own for each.
//!
//! One member is talked to at a time, by all calls and watches. Who finds it failing moves everyone on to the next one
//! that is not known to fail; those that do are asked in the background until they answer again. A member that is up but
//! has no leader, or does not answer, fails as one that is dead does. What must never happen: a dead member that takes
//! its share of the calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::sync::{Mutex, watch};

use super::Options;

/// How often a member that failed is asked again, and how long it may take to answer then.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2), Duration::from_millis(1500));

/// All members, and the one that is talked to.
pub(super) struct Members {
    options: Options,
    settings: ConnectOptions,
    list: Vec<Member>,
    current: watch::Sender<usize>,
}

struct Member {
    endpoint: String,
    /// Made when it is first needed.
    client: Mutex<Option<Client>>,
    /// It failed, and somebody asks whether it answers again.
    failing: AtomicBool,
}

impl Members {
    pub(super) fn new(options: Options, settings: ConnectOptions) -> Self {
        let member = |endpoint: &String| Member {
            endpoint: endpoint.clone(),
            client: Mutex::new(None),
            failing: AtomicBool::new(false),
        };
        Self {
            list: options.endpoints.iter().map(member).collect(),
            options,
            settings,
            current: watch::Sender::new(0),
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn endpoint(&self, index: usize) -> &str {
        self.list
            .get(index)
            .map_or("", |member| member.endpoint.as_str())
    }

    /// The member that is talked to.
    pub(super) fn current(&self) -> usize {
        *self.current.borrow()
    }

    /// Returns once another member is talked to than this one.
    pub(super) async fn left(&self, index: usize) {
        // The sender lives as long as these members.
        let _ = self
            .current
            .subscribe()
            .wait_for(|current| *current != index)
            .await;
    }

    /// The member's client. With a user it logs in first, with the password as the file has it now.
    pub(super) async fn client(&self, index: usize) -> Result<Client, Error> {
        let Some(member) = self.list.get(index) else {
            return Err(Error::EndpointError("no such member".to_owned()));
        };
        let mut made = member.client.lock().await;
        if let Some(client) = &*made {
            return Ok(client.clone());
        }
        let mut settings = self.settings.clone();
        let credentials = super::credentials(&self.options)
            .await
            .map_err(|error| Error::InvalidArgs(error.to_string()))?;
        if let Some((name, password)) = credentials {
            settings = settings.with_user(name, password);
        }
        let client = Client::connect([&member.endpoint], Some(settings)).await?;
        Ok(made.insert(client).clone())
    }

    /// Leaves a member that failed, unless somebody did already, and sees to it that it is asked again.
    pub(super) fn leave(self: &Arc<Self>, index: usize, why: &str) {
        let count = self.list.len();
        let Some(member) = self.list.get(index).filter(|_| count > 1) else {
            return;
        };
        if !member.failing.swap(true, Ordering::SeqCst) {
            tokio::spawn(ask_again(Arc::downgrade(self), index));
        }
        let fails = |at: usize| {
            self.list
                .get(at)
                .is_none_or(|member| member.failing.load(Ordering::SeqCst))
        };
        let others = || (1..count).map(|step| (index + step) % count);
        let next = others()
            .find(|at| !fails(*at))
            .unwrap_or((index + 1) % count);
        let moved = self.current.send_if_modified(|current| {
            let ours = *current == index;
            if ours {
                *current = next;
            }
            ours
        });
        if moved {
            let (etcd, next) = (&member.endpoint, self.endpoint(next));
            tracing::warn!(
                etcd,
                why,
                next,
                "this member of etcd fails; the next is asked"
            );
        }
    }

    /// Takes a member for well.
    pub(super) fn works(&self, index: usize) {
        if let Some(member) = self.list.get(index)
            && member.failing.swap(false, Ordering::SeqCst)
        {
            tracing::info!(etcd = member.endpoint, "this member of etcd answers again");
        }
    }

    fn fails(&self, index: usize) -> bool {
        self.list
            .get(index)
            .is_some_and(|member| member.failing.load(Ordering::SeqCst))
    }

    /// Whether it answers as a member of a cluster that has a leader.
    async fn answers(&self, index: usize) -> bool {
        let asked = async {
            let client = self.client(index).await?;
            client.kv_client().get("/fridaymorning/", None).await
        };
        match tokio::time::timeout(AGAIN.1, asked).await {
            Ok(Ok(_)) => true,
            // A token that is too old is an answer.
            Ok(Err(error)) => super::calls::Fault::of(&error).is_none(),
            Err(_) => false,
        }
    }
}

/// Asks a failing member until it answers, somebody else found that it does, or nobody needs it any more.
async fn ask_again(members: Weak<Members>, index: usize) {
    loop {
        tokio::time::sleep(AGAIN.0).await;
        let Some(members) = members.upgrade() else {
            return;
        };
        if members.answers(index).await {
            members.works(index);
        }
        if !members.fails(index) {
            return;
        }
    }
}
