//! Reads manifests from files, folders and standard input. Never reads more of one source than a manifest may have.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use fm_api::manifest::{self, Draft};
use fm_api::problem::Problem;
use fm_api::release::Release;

use crate::cli::Files;
use crate::error::{Error, Result};
use crate::template::Template;
use crate::together;

/// More than any manifest may have: what is longer is refused by its reader, and need not be in memory whole.
const LONGEST: u64 = 16 * 1024 * 1024;

/// A document and where it came from: a release, or a draft of one.
#[derive(Debug)]
pub(crate) struct Source<T> {
    /// The file, as the user named it.
    pub(crate) name: String,
    /// What it holds, or everything that is wrong.
    pub(crate) document: Result<T, Vec<Problem>>,
}

/// Every document of every file, in order, validated here.
pub(crate) fn read(files: &Files) -> Result<Vec<Source<Release>>> {
    let (drafts, template) = drafts(files)?;
    let validated = |source: Source<Draft>| Source {
        document: source.document.and_then(|draft| {
            let mut release = draft.validate()?;
            template.mark_release(&mut release);
            Ok(release)
        }),
        name: source.name,
    };
    Ok(drafts.into_iter().map(validated).collect())
}

/// Every document of every file, in order, read as text alone: for the server to validate. And what templates were
/// filled in with, which marks them.
pub(crate) fn drafts(files: &Files) -> Result<(Vec<Source<Draft>>, Template)> {
    let mut template = Template::new(files)?;
    let mut sources = Vec::new();
    let mut stdin_read = false;
    for path in &files.files {
        if path.as_os_str() == "-" {
            if std::mem::replace(&mut stdin_read, true) {
                return Err(Error::new("standard input can be read only once"));
            }
            let bytes = limited(io::stdin().lock())
                .map_err(|error| Error::new("standard input cannot be read").because(error))?;
            push("<stdin>", bytes, &mut template, &mut sources);
        } else if path.is_dir() {
            let found = folder(path, files.recursive)?;
            if found.is_empty() {
                return Err(Error::new(format!(
                    "there is no *.yaml, *.yml or *.json in {}",
                    path.display()
                ))
                .hint("-R looks into the folders inside it too"));
            }
            for file in found {
                one(&file, &mut template, &mut sources);
            }
        } else {
            one(path, &mut template, &mut sources);
        }
    }
    template.unused()?;
    together::check(&mut sources);
    Ok((sources, template))
}

/// A file's text, or standard input's.
pub(crate) fn text(path: &Path) -> Result<String> {
    let bytes = if path.as_os_str() == "-" {
        limited(io::stdin().lock())
    } else {
        fs::File::open(path).and_then(limited)
    };
    let bytes = bytes
        .map_err(|error| Error::new(format!("{} cannot be read", path.display())).because(error))?;
    String::from_utf8(bytes).map_err(|_| Error::new(format!("{} is no text", path.display())))
}

/// The one release of a file that must hold just one.
pub(crate) fn single(path: &Path) -> Result<Release, Vec<Problem>> {
    let files = Files {
        files: vec![path.to_owned()],
        recursive: false,
        branch: None,
        set: Vec::new(),
    };
    let whole = |message: String| {
        vec![Problem {
            file: Some(path.display().to_string()),
            message,
            ..Problem::default()
        }]
    };
    let mut sources = read(&files).map_err(|error| whole(format!("{error:#}")))?;
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => source.document,
        (Some(_), false) => Err(whole(format!(
            "{} documents where one is expected",
            sources.len() + 1
        ))),
        (None, _) => Err(whole("there is no document".to_owned())),
    }
}

fn one(path: &Path, template: &mut Template, sources: &mut Vec<Source<Draft>>) {
    let name = path.display().to_string();
    // A file that cannot be read spoils nothing of its neighbours.
    match fs::File::open(path).and_then(limited) {
        Ok(bytes) => push(&name, bytes, template, sources),
        Err(error) => {
            let problem = Problem {
                file: Some(name.clone()),
                message: format!("cannot be read: {error}"),
                ..Problem::default()
            };
            sources.push(Source {
                name,
                document: Err(vec![problem]),
            });
        }
    }
}

fn push(name: &str, bytes: Vec<u8>, template: &mut Template, sources: &mut Vec<Source<Draft>>) {
    let documents = match template.fill(name, bytes) {
        Ok(bytes) => manifest::drafts(name, &bytes),
        Err(problems) => vec![Err(problems)],
    };
    for document in documents {
        let checked = document.and_then(|draft| match template.check(&draft.value()) {
            None => Ok(draft),
            Some(problem) => Err(draft.place(vec![problem])),
        });
        sources.push(Source {
            name: name.to_owned(),
            document: checked,
        });
    }
}

fn limited(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The manifests in a folder, sorted by name; with `recursive` those of the folders inside it too.
fn folder(path: &Path, recursive: bool) -> Result<Vec<PathBuf>> {
    let failed = |error: io::Error| {
        Error::new(format!("the folder {} cannot be read", path.display())).because(error)
    };
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        entries.push(entry.map_err(failed)?.path());
    }
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        let kind = fs::symlink_metadata(&entry).map_err(failed)?.file_type();
        // A link to a folder may lead back to where we are.
        if kind.is_dir() {
            if recursive {
                found.extend(folder(&entry, recursive)?);
            }
            continue;
        }
        let manifest = entry
            .extension()
            .is_some_and(|end| end == "yaml" || end == "yml" || end == "json");
        if manifest && entry.is_file() {
            found.push(entry);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_in_order_and_deeper_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("b")).unwrap();
        for name in ["c.yml", "a.yaml", "d.json", "readme.md", "b/x.yaml"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(dir.path(), dir.path().join("e")).unwrap();
        let names = |recursive| -> Vec<String> {
            folder(dir.path(), recursive)
                .unwrap()
                .iter()
                .map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string())
                .collect()
        };
        assert_eq!(names(false), ["a.yaml", "c.yml", "d.json"]);
        assert_eq!(names(true), ["a.yaml", "b/x.yaml", "c.yml", "d.json"]);
    }
}
