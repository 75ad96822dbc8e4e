//! Releases and their history in columns.

use fm_api::http::View;
use fm_api::rollout::{HistoryEntry, Outcome};
use fm_api::status::{RevisionStatus, Status};

use super::{NO_STATUS, canary_at, phase, revision, share, step};
use crate::table::Table;
use crate::text::{Look, image, short};

/// Releases in columns.
pub(crate) fn releases(views: &[View], look: &Look, wide: bool, namespaces: bool) -> String {
    if wide {
        return wide_table(views, look).render(look);
    }
    let mut table = Table::new([
        "NAME", "PHASE", "STEP", "WEIGHT", "STABLE", "CANARY", "READY", "AGE", "WHY",
    ]);
    for view in views {
        let status = view.status.as_ref();
        table.row([
            name(view, namespaces),
            phase_cell(status, look),
            status.map_or_else(dash, step),
            weight(status),
            side(status.and_then(|status| status.stable.as_ref())),
            side(status.and_then(|status| status.canary.as_ref())),
            ready(status),
            age(view, look),
            why(status),
        ]);
    }
    table.render(look)
}

fn wide_table(views: &[View], look: &Look) -> Table {
    let mut table = Table::new([
        "NAMESPACE",
        "NAME",
        "PHASE",
        "STEP",
        "WEIGHT",
        "STABLE",
        "STABLE REVISION",
        "CANARY",
        "CANARY REVISION",
        "READY",
        "HEALTHY",
        "RATE",
        "ERRORS",
        "GENERATION",
        "CHANGED BY",
        "AGE",
        "WHY",
    ]);
    for view in views {
        let status = view.status.as_ref();
        let stable = status.and_then(|status| status.stable.as_ref());
        let canary = status.and_then(|status| status.canary.as_ref());
        let meta = view.release.as_ref().map(|release| &release.metadata);
        table.row([
            view.namespace.clone(),
            view.name.clone(),
            phase_cell(status, look),
            status.map_or_else(dash, step),
            weight(status),
            side(stable),
            stable.map_or_else(dash, |side| side.revision.to_string()),
            side(canary),
            canary.map_or_else(dash, |side| side.revision.to_string()),
            ready(status),
            healthy(status),
            rate(view),
            errors(view),
            meta.and_then(|meta| meta.generation)
                .map_or_else(dash, |generation| generation.to_string()),
            meta.and_then(|meta| meta.changed_by.clone())
                .unwrap_or_else(dash),
            age(view, look),
            why(status),
        ]);
    }
    table
}

fn dash() -> String {
    "-".to_owned()
}

fn name(view: &View, namespaces: bool) -> String {
    if namespaces {
        format!("{}/{}", view.namespace, view.name)
    } else {
        view.name.clone()
    }
}

fn phase_cell(status: Option<&Status>, look: &Look) -> String {
    status.map_or_else(
        || "Unknown".to_owned(),
        |status| phase(status.phase, look.paint),
    )
}

fn weight(status: Option<&Status>) -> String {
    match status {
        Some(status) if status.canary.is_some() => canary_at(status),
        _ => dash(),
    }
}

fn side(side: Option<&RevisionStatus>) -> String {
    side.map_or_else(dash, revision)
}

/// What serves; where nothing does, the newest preview.
fn sides(status: &Status) -> impl Iterator<Item = &RevisionStatus> {
    let preview = status.previews.first().map(|preview| &preview.side);
    let nothing = status.stable.is_none() && status.canary.is_none();
    let serving = [&status.stable, &status.canary].into_iter().flatten();
    serving.chain(preview.filter(|_| nothing))
}

fn ready(status: Option<&Status>) -> String {
    let Some(status) = status else { return dash() };
    let parts: Vec<String> = sides(status)
        .map(|side| format!("{}/{}", side.ready, side.replicas))
        .collect();
    if parts.is_empty() {
        dash()
    } else {
        parts.join("+")
    }
}

fn healthy(status: Option<&Status>) -> String {
    let Some(status) = status else { return dash() };
    let parts: Vec<String> = sides(status)
        .map(|side| {
            side.healthy
                .map_or_else(dash, |healthy| healthy.to_string())
        })
        .collect();
    if parts.is_empty() {
        dash()
    } else {
        parts.join("+")
    }
}

fn rate(view: &View) -> String {
    match super::frame::judged(view) {
        Some(verdict) => format!("{:.1}+{:.1}/s", verdict.stable.rps, verdict.canary.rps),
        None => dash(),
    }
}

fn errors(view: &View) -> String {
    match super::frame::judged(view) {
        Some(verdict) => format!(
            "{} vs {}",
            share(verdict.stable.error_rate),
            share(verdict.canary.error_rate)
        ),
        None => dash(),
    }
}

fn age(view: &View, look: &Look) -> String {
    view.release
        .as_ref()
        .and_then(|release| release.metadata.created_at)
        .map_or_else(dash, |at| look.age(at))
}

fn why(status: Option<&Status>) -> String {
    status.map_or_else(|| NO_STATUS.to_owned(), |status| status.why.clone())
}

/// Finished rollouts, the newest first.
pub(crate) fn history(entries: &[HistoryEntry], look: &Look) -> String {
    let mut table = Table::new([
        "NUMBER", "REVISION", "IMAGE", "OUTCOME", "ENDED", "TOOK", "BY", "WHY",
    ]);
    for entry in entries.iter().rev() {
        table.row([
            format!("#{}", entry.number),
            entry.revision.to_string(),
            image(&entry.image),
            outcome(entry.outcome, look),
            look.clock(entry.ended_at),
            short(entry.ended_at.duration_since(entry.started_at)),
            entry.by.clone().unwrap_or_else(dash),
            entry.why.clone(),
        ]);
    }
    table.render(look)
}

/// How a rollout ended, in its colour.
pub(super) fn outcome(outcome: Outcome, look: &Look) -> String {
    match outcome {
        Outcome::Promoted => look.paint.green("promoted"),
        Outcome::RolledBack => look.paint.red("rolled back"),
        Outcome::Aborted => look.paint.yellow("aborted"),
        Outcome::Replaced => look.paint.dim("replaced"),
        Outcome::Failed => look.paint.red("failed"),
        Outcome::Over => look.paint.dim("over"),
    }
}
