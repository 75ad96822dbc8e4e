//! `/healthz`, `/readyz`, `/version`: whether the daemon lives, whether it can do its work, and which one it is.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fm_api::http::{ReadyBody, ReadyCheck, VersionBody};
use fm_api::keys;
use fm_api::observed::Agent;

use super::Api;
use super::doors::Shared;
use super::stored::decode;

/// The store must answer within this time to count as there.
const TIME: Duration = Duration::from_secs(2);

pub(super) async fn alive() -> &'static str {
    "ok\n"
}

pub(super) async fn version(State(api): State<Shared>) -> Json<VersionBody> {
    Json(VersionBody {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: api.ctx.store.describe(),
        identity: api.ctx.identity.clone(),
        instance: api
            .here
            .agent
            .as_ref()
            .map(|agent| agent.instance.clone())
            .unwrap_or_default(),
    })
}

pub(super) async fn ready(State(api): State<Shared>) -> (StatusCode, Json<ReadyBody>) {
    let checks = api.checks().await;
    let ready = checks.iter().all(|check| check.ok);
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ReadyBody { ready, checks }))
}

impl Api {
    async fn checks(&self) -> Vec<ReadyCheck> {
        let check = |name: &str, problem: Option<String>| ReadyCheck {
            name: name.to_owned(),
            ok: problem.is_none(),
            warns: false,
            message: problem.unwrap_or_else(|| "well".to_owned()),
        };
        let mut checks = vec![check("store", self.store_problem().await)];
        let candidates = self.ctx.fitness.candidates();
        for (name, part) in self.health.parts() {
            let problem = (!part.running).then(|| {
                format!(
                    "it is started again: {}",
                    part.last_error.unwrap_or_else(|| "unknown".to_owned())
                )
            });
            let mut warning = None;
            let problem = match (&self.here.agent, problem) {
                (Some(agent), None) if name == "haproxy" && !agent.observes => {
                    match self.agent_problem(&agent.instance).await {
                        Ok(warns) => {
                            warning = warns;
                            None
                        }
                        Err(problem) => Some(problem),
                    }
                }
                (_, problem) => problem,
            };
            let unfit = || candidates.get(name).and_then(|known| known.unfit.clone());
            let problem = problem.or_else(unfit);
            checks.push(match (problem, warning) {
                (None, Some(words)) => ReadyCheck {
                    ok: true,
                    warns: true,
                    ..check(name, Some(words))
                },
                (problem, _) => check(name, problem),
            });
        }
        checks
    }

    pub(super) async fn store_problem(&self) -> Option<String> {
        let key = keys::lease("api");
        match tokio::time::timeout(TIME, self.ctx.store.get(&key)).await {
            // One that is only read is lost as well.
            Ok(Ok(_)) => {
                let lost = self.ctx.store.health().problem();
                lost.or_else(|| self.ctx.store.space()?.low)
            }
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("it does not answer within {} s", TIME.as_secs())),
        }
    }

    /// Why the agent beside this daemon cannot do its work; else what is wrong with it all the same. Its key is bound to a
    /// lease, and it names HAProxy's version once HAProxy has answered.
    async fn agent_problem(&self, instance: &str) -> Result<Option<String>, String> {
        let key = keys::agent(instance);
        let entry = match tokio::time::timeout(TIME, self.ctx.store.get(&key)).await {
            Ok(Ok(entry)) => entry,
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("the store does not answer".to_owned()),
        };
        let Some(agent) = entry.as_ref().and_then(decode::<Agent>) else {
            return Err(format!("its agent {instance} is not alive yet"));
        };
        let said = |hurts: bool| {
            let of = agent
                .troubles
                .iter()
                .filter(|one| one.kind.hurts() == hurts);
            of.map(|one| one.message.as_str())
                .collect::<Vec<_>>()
                .join("; ")
        };
        match (&agent.problem, said(true), said(false)) {
            (Some(words), ..) => Err(format!("HAProxy does not answer: {words}")),
            (None, hurts, _) if !hurts.is_empty() => Err(hurts),
            _ if agent.haproxy.is_empty() => Err("HAProxy does not answer yet".to_owned()),
            (None, _, warns) => Ok((!warns.is_empty()).then_some(warns)),
        }
    }
}
