//! `frctl adopt`: a running Swarm service becomes a release.

use fm_api::http::{AdoptRequest, ApplyResult};

use crate::changes::portable;
use crate::cli::{Adopt, Output};
use crate::client::{Client, typed};
use crate::error::{Exit, Result};
use crate::session::{Session, short, yaml};
use crate::{term, text};

pub(super) async fn run(session: &Session, options: Adopt) -> Result<Exit> {
    let client = session.client()?;
    let name = options.name.unwrap_or_else(|| usual(&options.service));
    let key = session.key(&name)?;
    let asked = AdoptRequest {
        service: options.service.clone(),
        hosts: options.hosts,
        port: options.port,
        from_stack: options.from_stack,
        shared: options.shared,
    };
    let query = if options.dry_run {
        "?dryRun=server"
    } else {
        ""
    };
    let path = format!("{}/adopt{query}", Client::release(&key));
    let result: ApplyResult = typed(client.post(&path, &asked).await?)?;
    for warning in &result.warnings {
        term::complain(&format!("warning: {key}: {}", text::clean(warning)));
    }
    match session.output() {
        Output::Json => session.object(&result).map(drop)?,
        Output::Name => term::line(&key.to_string())?,
        Output::Yaml => term::print(&yaml(&portable(&result.release))?)?,
        Output::Table | Output::Wide if options.dry_run => {
            term::print(&yaml(&portable(&result.release))?)?;
            term::complain("dry run: nothing was changed; this is the manifest that it would have");
        }
        Output::Table | Output::Wide => {
            term::line(&format!(
                "release {key} created: it runs in the service {} as it is",
                options.service
            ))?;
            let name = short(&key);
            term::line(&format!(
                "  `frctl get {name} -o yaml` is its manifest; `frctl watch {name}` shows it"
            ))?;
        }
    }
    Ok(Exit::Done)
}

/// A release's name from a service's.
fn usual(service: &str) -> String {
    let fits = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let name: String = service.chars().map(fits).take(26).collect();
    name.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_name_becomes_a_releases() {
        assert_eq!(usual("Web_app"), "web-app");
        assert_eq!(usual("_x_"), "x");
        assert_eq!(usual(&"a".repeat(40)).len(), 26);
    }
}
