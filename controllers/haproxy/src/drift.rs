//! What of HAProxy is not as it was left: it is put back, and told.

use fm_api::event::Severity;

use crate::agent::note;
use crate::desired::Desired;
use crate::files;
use crate::mirror::Mirror;
use crate::plan::Plan;
use crate::state::Action;
use crate::turn::Turn;

impl Turn {
    /// HAProxy could not start, or ended: whatever it reads is put back as it should be, for somebody may have removed or
    /// changed it beside us.
    pub(crate) fn mend_files(&mut self) {
        if self.observe_only {
            return;
        }
        let made = files::make_folders(&self.dir)
            .and_then(|()| self.kept.write(true))
            .and_then(|()| Mirror::write_filter(&self.dir));
        if let Err(error) = made {
            tracing::warn!(%error, "HAProxy's files cannot be put back");
        }
        // The plan writes what differs.
        self.on_disk = files::read(&self.dir);
    }

    /// Somebody changed HAProxy beside us: it is put back, and told.
    pub(crate) async fn tell_of_drift(&self, plan: &Plan, desired: &Desired) {
        if !self.settled || self.cache.lost_since().is_some() {
            return;
        }
        for action in &plan.actions {
            let (group, what) = match action {
                Action::SetMap(map, key, _)
                | Action::AddMap(map, key, _)
                | Action::DelMap(map, key) => (
                    key.as_str(),
                    format!("{} in {} was changed", key, map.file()),
                ),
                Action::Add(at, ..) => (at.backend.as_str(), format!("server {at} was taken out")),
                Action::Resume(at) => {
                    (at.backend.as_str(), format!("server {at} was set to drain"))
                }
                Action::Reweight(at) => (
                    at.backend.as_str(),
                    format!("server {at} was given another weight"),
                ),
                Action::Drain(at) => (at.backend.as_str(), format!("server {at} was put to work")),
                Action::Reload(why) => ("", format!("HAProxy runs another configuration ({why})")),
                Action::WriteFiles
                | Action::Arm(_)
                | Action::Fill(..)
                | Action::Know(..)
                | Action::Maint(_) => continue,
            };
            let release = desired
                .groups
                .get(group.get(..11).unwrap_or(""))
                .map(|g| &g.release);
            let message = format!("{what} by somebody else and is put back");
            self.recorder
                .record(release, Severity::Warning, "DriftRepaired", message)
                .await;
        }
    }

    /// Tells of what is wrong, once.
    pub(crate) async fn trouble(&mut self, words: String) {
        if self.told.as_ref() != Some(&words) {
            tracing::warn!(problem = %words, "HAProxy");
            note(
                &self.recorder,
                Severity::Warning,
                "HaproxyTrouble",
                words.clone(),
            )
            .await;
            self.told = Some(words);
        }
    }
}
