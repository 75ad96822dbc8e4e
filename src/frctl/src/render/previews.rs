//! Previews: where each is reached, and until when. Pure.

use fm_api::status::Status;

use super::frame::labelled;
use crate::text::{Look, image};

/// Previews, each with where it is reached and until when.
pub(super) fn previews(status: &Status, look: &Look) -> Vec<String> {
    let mut lines = Vec::new();
    for preview in &status.previews {
        let side = &preview.side;
        let leads: Vec<&str> = preview
            .hosts
            .iter()
            .chain(&preview.headers)
            .map(String::as_str)
            .collect();
        let leads = if leads.is_empty() {
            "no host yet".to_owned()
        } else {
            leads.join(", ")
        };
        let mut text = format!(
            "#{} {}  {} of {} ready",
            side.number,
            image(&side.image),
            side.ready,
            side.replicas
        );
        if let Some(healthy) = side.healthy {
            text.push_str(&format!(", {healthy} healthy"));
        }
        text.push_str(&format!("; {leads}; until {}", look.clock(preview.until)));
        lines.extend(labelled("preview", &text, look));
        if let Some(words) = side.last_failure.as_ref().filter(|_| !preview.up) {
            lines.extend(labelled("", &format!("Docker says: {words}"), look));
        }
    }
    lines
}
