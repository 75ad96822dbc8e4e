//! Carries out a plan on a running HAProxy and its files.
//!
//! What must never happen: a record that takes up a slot whose servers could not be changed. So actions run in rounds
//! of one kind, and the first round that fails ends the plan.

use std::path::Path;

use crate::files;
use crate::maps::Map;
use crate::master;
use crate::observe::NOWHERE;
use crate::plan::{Files, Plan};
use crate::runtime;
use crate::state::{Action, At, Running, Why};
use crate::supervise::{self, Runner};

/// Why a plan did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The runtime socket.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The master socket.
    #[error(transparent)]
    Master(#[from] master::Error),
    /// HAProxy would not take the configuration; the old one still serves.
    #[error(transparent)]
    Refused(#[from] supervise::Error),
    /// A file could not be written.
    #[error("{path} cannot be written: {message}")]
    File {
        /// The folder.
        path: String,
        /// What went wrong.
        message: String,
    },
}

/// What a plan is carried out with.
pub(crate) struct Hands<'a> {
    /// The runtime socket.
    pub(crate) client: &'a mut runtime::Client,
    /// The master socket.
    pub(crate) master: &'a master::Client,
    /// Asks HAProxy about a configuration before a reload; `None` where its program is not at hand.
    pub(crate) checker: Option<&'a Runner>,
    /// The folder of configuration and maps.
    pub(crate) dir: &'a Path,
    /// Workers from before the last reload.
    pub(crate) old_workers: &'a [u32],
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The reload, if there was one.
    pub(crate) reloaded: Option<Why>,
}

impl Hands<'_> {
    /// Carries out a plan. `running` and `on_disk` follow what was done.
    ///
    /// # Errors
    /// With the first action that failed; the rest was not tried.
    pub(crate) async fn carry_out(
        &mut self,
        plan: &Plan,
        running: Option<&mut Running>,
        on_disk: &mut Option<Files>,
    ) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut nothing = Running::default();
        let running = running.unwrap_or(&mut nothing);
        let reload = plan
            .actions
            .iter()
            .any(|action| matches!(action, Action::Reload(_)));
        for round in rounds(&plan.actions) {
            match round.first() {
                Some(Action::WriteFiles) => {
                    self.write(plan, on_disk, reload).await?;
                }
                Some(Action::Reload(why)) => {
                    self.master.reload().await?;
                    self.client.reconnect();
                    done.reloaded = Some(why.clone());
                }
                Some(_) => self.round(round, running).await?,
                None => {}
            }
        }
        Ok(done)
    }

    /// What HAProxy starts from, should it end.
    async fn write(
        &mut self,
        plan: &Plan,
        on_disk: &mut Option<Files>,
        reload: bool,
    ) -> Result<(), Error> {
        let file_error = |error: std::io::Error| Error::File {
            path: self.dir.display().to_string(),
            message: error.to_string(),
        };
        files::write_maps(self.dir, &plan.files, on_disk.as_ref()).map_err(file_error)?;
        if on_disk.as_ref().map(|old| &old.config) != Some(&plan.files.config) {
            let path = files::config(self.dir);
            if let (true, Some(checker)) = (reload || on_disk.is_none(), self.checker) {
                // A configuration that HAProxy refuses must not lie where a restart would read it.
                let trial = self.dir.join("haproxy.cfg.trial");
                files::replace(&trial, &plan.files.config).map_err(file_error)?;
                let checked = checker.check(&trial).await;
                let _ = std::fs::remove_file(&trial);
                checked?;
            }
            files::replace(&path, &plan.files.config).map_err(file_error)?;
        }
        *on_disk = Some(plan.files.clone());
        Ok(())
    }

    async fn round(&mut self, actions: &[Action], running: &mut Running) -> Result<(), Error> {
        let mut commands = Vec::new();
        let mut of = Vec::new();
        for (index, action) in actions.iter().enumerate() {
            for command in self.commands(action) {
                commands.push(command);
                of.push(index);
            }
        }
        let answers = self.client.run(&commands).await?;
        let mut failed: Option<(usize, Error)> = None;
        for ((command, answer), index) in commands.iter().zip(&answers).zip(&of) {
            if !is_fine(command, answer) && failed.is_none() {
                let error = runtime::Error::Refused {
                    command: command.clone(),
                    answer: answer.clone(),
                };
                failed = Some((*index, error.into()));
            }
        }
        let good = failed.as_ref().map_or(actions.len(), |(index, _)| *index);
        for action in actions.iter().take(good) {
            running.apply(action);
        }
        if let Some((_, error)) = failed {
            return Err(error);
        }
        self.tell_old_workers(actions).await;
        Ok(())
    }

    /// Workers that only finish what they have still split requests on their open connections: a weight that goes back
    /// to 0 must reach them too. They may end at any moment, so a failure is none.
    async fn tell_old_workers(&self, actions: &[Action]) {
        for action in actions {
            if let Action::SetMap(Map::Split | Map::Experiments, ..)
            | Action::DelMap(Map::Experiments, _) = action
            {
                for command in self.commands(action) {
                    for pid in self.old_workers {
                        let _ = self.master.in_worker(*pid, &command).await;
                    }
                }
            }
        }
    }

    fn commands(&self, action: &Action) -> Vec<String> {
        let map = |map: &Map| format!("{}/maps/{}", self.dir.display(), map.file());
        let fill = |at: &At, ip: &str, port: u16| {
            vec![
                format!("set server {at} addr {ip} port {port}"),
                // Through `drain`: a server that leaves maintenance is believed healthy, so it is called down
                // before it may take a request, and its own check raises it.
                format!("set server {at} state drain"),
                format!("set server {at} health down"),
                format!("set server {at} state ready"),
            ]
        };
        match action {
            Action::WriteFiles | Action::Reload(_) | Action::Know(..) => Vec::new(),
            Action::SetMap(m, key, value) => vec![format!("set map {} {key} {value}", map(m))],
            Action::AddMap(m, key, value) => vec![format!("add map {} {key} {value}", map(m))],
            Action::DelMap(m, key) => vec![format!("del map {} {key}", map(m))],
            Action::Arm(at) => {
                let (ip, port) = NOWHERE.split_once(':').unwrap_or((NOWHERE, "1"));
                fill(at, ip, port.parse().unwrap_or(1))
            }
            Action::Add(at, _, address) => fill(at, &address.ip().to_string(), address.port()),
            Action::Fill(at, _, address) => {
                vec![format!(
                    "set server {at} addr {} port {}",
                    address.ip(),
                    address.port()
                )]
            }
            Action::Resume(at) => vec![format!("set server {at} state ready")],
            Action::Drain(at) => vec![format!("set server {at} state drain")],
            Action::Maint(at) => vec![format!("set server {at} state maint")],
            Action::Reweight(at) => vec![format!("set server {at} weight 100%")],
        }
    }
}

/// Whether an answer means that the command was done.
fn is_fine(command: &str, answer: &str) -> bool {
    answer.is_empty()
        // An address is answered with a sentence also when it was taken.
        || (command.contains(" addr ") && answer.contains("by 'stats socket command'"))
}

/// Actions in rounds of one kind: servers, maps, files, reload.
fn rounds(actions: &[Action]) -> Vec<&[Action]> {
    fn kind(action: &Action) -> u8 {
        match action {
            Action::WriteFiles => 0,
            Action::SetMap(..) | Action::AddMap(..) | Action::DelMap(..) => 1,
            Action::Arm(_)
            | Action::Add(..)
            | Action::Fill(..)
            | Action::Know(..)
            | Action::Resume(_)
            | Action::Drain(_)
            | Action::Maint(_)
            | Action::Reweight(_) => 2,
            Action::Reload(_) => 3,
        }
    }
    actions.chunk_by(|a, b| kind(a) == kind(b)).collect()
}
