//! `frctl diff`: what apply would change.

use fm_api::http::ErrorKind;
use fm_api::release::Release;
use similar::{ChangeTag, TextDiff};

use crate::changes::{changes, portable};
use crate::cli::Files;
use crate::client::{Client, Refusal, typed};
use crate::error::{Error, Exit, Result};
use crate::session::{Session, yaml};
use crate::text::{Paint, clean};
use crate::{contents, files, term};

pub(super) async fn run(session: &Session, files: &Files) -> Result<Exit> {
    let client = session.client()?;
    let paint = session.paint();
    let mut failed = 0usize;
    let mut different = false;
    for source in files::read(files)? {
        let release = source
            .document
            .and_then(|release| super::apply::in_namespace(session, release));
        let outcome = match release {
            Ok(release) => one(&client, &release, &source.name, paint).await,
            Err(problems) => Err(Refusal {
                error: Error::new("invalid"),
                problems,
            }),
        };
        match outcome {
            Ok(changed) => different |= changed,
            Err(Refusal { error, problems }) => {
                if error.is(ErrorKind::Unavailable) {
                    return Err(error);
                }
                failed += 1;
                if problems.is_empty() {
                    term::complain(&format!("{}: {error:#}", source.name));
                }
                for problem in problems {
                    let file = problem.file.is_none();
                    let text = clean(&problem.to_string());
                    term::complain(&if file {
                        format!("{}: {text}", source.name)
                    } else {
                        text
                    });
                }
            }
        }
    }
    Ok(if failed > 0 || different {
        Exit::Error
    } else {
        Exit::Done
    })
}

/// Shows the difference of one release; whether there is any.
async fn one(
    client: &Client,
    wanted: &Release,
    source: &str,
    paint: Paint,
) -> Result<bool, Refusal> {
    let key = wanted.key();
    let stored: Option<Release> = match client.get(&Client::release(&key)).await {
        Ok(value) => Some(typed(value)?),
        Err(error) if error.is(ErrorKind::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    // The server has the last word on what would be stored.
    let (result, notes) = contents::looked_at(client, wanted, source).await?;
    for note in notes {
        term::complain(&format!("{key}: {}", clean(&note)));
    }
    let after = portable(&result.release);
    let (before, text) = match &stored {
        Some(stored) => {
            let text = explain(stored, &after);
            (yaml(&portable(stored))?, text)
        }
        None => (
            String::new(),
            "new release: its first revision serves as soon as its tasks are ready\n".to_owned(),
        ),
    };
    let shown = unified(&key.to_string(), &before, &yaml(&after)?, paint);
    if shown.is_empty() {
        return Ok(false);
    }
    term::print(&shown)?;
    term::print(&text)?;
    Ok(true)
}

fn explain(old: &Release, new: &Release) -> String {
    changes(old, new)
        .iter()
        .map(|change| format!("# {}: {}\n", change.part, change.effect))
        .collect()
}

/// A unified diff, empty if there is no difference.
fn unified(name: &str, before: &str, after: &str, paint: Paint) -> String {
    if before == after {
        return String::new();
    }
    let diff = TextDiff::from_lines(before, after);
    let mut out = paint.bold(&format!("--- stored {name}")) + "\n";
    out.push_str(&paint.bold(&format!("+++ wanted {name}")));
    out.push('\n');
    for hunk in diff.unified_diff().context_radius(3).iter_hunks() {
        out.push_str(&paint.cyan(hunk.header().to_string().trim_end()));
        out.push('\n');
        for change in hunk.iter_changes() {
            let line = clean(change.value().trim_end_matches('\n'));
            out.push_str(&match change.tag() {
                ChangeTag::Delete => paint.red(&format!("-{line}")),
                ChangeTag::Insert => paint.green(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            });
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_have_no_difference_and_others_are_marked() {
        assert_eq!(unified("a", "x\n", "x\n", Paint(false)), "");
        assert_eq!(
            unified("d/shop", "a: 1\nb: 2\n", "a: 1\nb: 3\n", Paint(false)),
            "--- stored d/shop\n+++ wanted d/shop\n@@ -1,2 +1,2 @@\n a: 1\n-b: 2\n+b: 3\n"
        );
    }
}
