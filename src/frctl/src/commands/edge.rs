//! `frctl edge …`: every HAProxy with its agent; one that is gone for good, and one that is to be taken out.

use fm_api::edge::{Edge, Edges};
use serde_json::json;

use crate::cli::{EdgeCommand, Output};
use crate::client::{encoded, shown};
use crate::error::{Exit, Result};
use crate::session::Session;
use crate::table::Table;
use crate::term;
use crate::text::Look;

pub(super) async fn run(session: &Session, command: EdgeCommand) -> Result<Exit> {
    let client = session.client()?;
    match command {
        EdgeCommand::List => {
            let value = client.get("/v1/edges").await?;
            match session.output() {
                Output::Json | Output::Yaml => {
                    session.object(&value)?;
                }
                Output::Name => {
                    let edges: Edges = shown(value)?;
                    let names: String = edges
                        .items
                        .iter()
                        .map(|e| format!("{}\n", e.name))
                        .collect();
                    term::print(&names)?;
                }
                Output::Table | Output::Wide => {
                    term::print(&table(&shown(value)?, &session.look()))?;
                }
            }
        }
        EdgeCommand::Forget(named) => {
            let path = format!("/v1/edges/{}", encoded(&named.name));
            let value = client
                .send(client.request(reqwest::Method::DELETE, &path))
                .await?;
            let edge: Edge = shown(value)?;
            let count = edge.releases.len();
            term::print(&format!(
                "edge {} is forgotten: nothing waits for its HAProxy any more ({count} releases)\n",
                edge.name
            ))?;
        }
        EdgeCommand::Drain(options) => {
            let path = format!("/v1/edges/{}/drain", encoded(&options.name));
            if options.undo {
                client
                    .send(client.request(reqwest::Method::DELETE, &path))
                    .await?;
                term::print(&format!(
                    "edge {} stays: rollouts wait for it again\n",
                    options.name
                ))?;
            } else {
                client.post(&path, &json!({})).await?;
                term::print(&format!(
                    "edge {} drains: no rollout waits for it any more; it serves what still comes to it. \
                     Lead clients elsewhere, stop it, then `frctl edge forget {}`\n",
                    options.name, options.name
                ))?;
            }
        }
        EdgeCommand::Accept(named) => {
            let path = format!("/v1/edges/{}/accept", encoded(&named.name));
            let edge: Edge = shown(client.post(&path, &json!({})).await?)?;
            let kept = edge
                .troubles
                .iter()
                .filter(|trouble| trouble.keeps.is_some());
            let what: Vec<&str> = kept.map(|trouble| trouble.message.as_str()).collect();
            term::print(&format!(
                "edge {} gives up what it kept: {}\n",
                edge.name,
                what.join("; ")
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// The edges, for people.
fn table(edges: &Edges, look: &Look) -> String {
    let head = [
        "NAME", "STATE", "SINCE", "VERSION", "HAPROXY", "RELEASES", "PROBLEM",
    ];
    let mut table = Table::new(head);
    let or_dash = |text: &str| if text.is_empty() { "-" } else { text }.to_owned();
    for edge in &edges.items {
        let state = match (edge.live, edge.draining.is_some()) {
            (true, false) => "live",
            (true, true) => "drains",
            (false, false) => "gone",
            (false, true) => "taken out",
        };
        table.row([
            edge.name.clone(),
            state.to_owned(),
            edge.since.map_or_else(|| "-".to_owned(), |at| look.age(at)),
            or_dash(&edge.version),
            or_dash(&edge.haproxy),
            or_dash(&shows(edge)),
            problem(edge),
        ]);
    }
    table.render(look)
}

fn shows(edge: &Edge) -> String {
    let each = edge.releases.iter();
    let names: Vec<String> = each
        .map(|r| format!("{}/{}", r.namespace, r.name))
        .collect();
    match names.as_slice() {
        [a, b, c, rest @ ..] if !rest.is_empty() => {
            format!("{a}, {b}, {c} and {} more", rest.len())
        }
        some => some.join(", "),
    }
}

fn problem(edge: &Edge) -> String {
    if let Some(problem) = &edge.problem {
        return problem.clone();
    }
    if !edge.troubles.is_empty() {
        let all: Vec<&str> = edge.troubles.iter().map(|t| t.message.as_str()).collect();
        return all.join("; ");
    }
    let kept = edge.releases.iter().filter(|r| !r.keeps.is_empty()).count();
    if edge.live || edge.draining.is_some() || edge.releases.is_empty() {
        return "-".to_owned();
    }
    let kept = match kept {
        0 => String::new(),
        some => format!(", tasks of {some} releases stay for it"),
    };
    format!(
        "no share rises{kept}; gone for good: `frctl edge forget {}`",
        edge.name
    )
}
