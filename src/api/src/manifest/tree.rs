//! YAML text as a tree in which every value knows its place, so that every later problem can name it.
//!
//! Aliases are written out within a budget: a small text must never become a large tree.

mod build;

use serde_json::{Map, Value};

use serde_saphyr::granit_parser::{ErrorKind, Event, Parser, ScanError, options};

use crate::problem::{Problem, join, shown};
use crate::schema;
use build::Builder;

/// No deeper nesting than this, aliases written out.
pub(super) const DEEPEST: usize = 64;
/// No more documents than this in one file.
const MOST_DOCUMENTS: usize = 1000;

/// A place in the text, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Mark {
    /// The line.
    pub(super) line: usize,
    /// The column, in characters.
    pub(super) column: usize,
}

/// Something wrong, and where.
#[derive(Debug)]
pub(super) struct Fault {
    /// What.
    pub(super) problem: Problem,
    /// Where.
    pub(super) mark: Mark,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) mark: Mark,
    pub(super) kind: Kind,
    /// Why the value cannot be taken, for people.
    pub(super) wrong: Option<&'static str>,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<Entry>),
}

/// A field of a mapping.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) mark: Mark,
    pub(super) value: Node,
}

/// A document: its first line, and its tree, nothing, or why it could not be read.
pub(super) type Parsed = (usize, Result<Option<Node>, Box<Fault>>);

/// Reads every document of a text.
pub(super) fn read(text: &str) -> Vec<Parsed> {
    let mut parser = Parser::new_from_str_with_options(
        text,
        options! { emit_comments: false, block_nesting_limit: DEEPEST, flow_nesting_limit: DEEPEST },
    );
    let mut documents: Vec<Parsed> = Vec::new();
    let mut open: Option<(usize, Builder)> = None;
    while let Some(next) = parser.next_event() {
        let fault = match next {
            Ok((event, span)) => {
                let mark = Mark {
                    line: span.start.line(),
                    column: span.start.col() + 1,
                };
                match (event, open.as_mut()) {
                    (Event::DocumentStart(..), _) => {
                        open = Some((mark.line, Builder::default()));
                        None
                    }
                    (Event::DocumentEnd, _) => {
                        documents.extend(
                            open.take()
                                .map(|(line, builder)| (line, Ok(builder.finish()))),
                        );
                        None
                    }
                    (event, Some((_, builder))) => builder.take(event, mark).err(),
                    (_, None) => None,
                }
            }
            Err(error) => Some(syntax(&error, open.as_ref().map(|(_, builder)| builder))),
        };
        if let Some(fault) = fault {
            let line = open.take().map_or(fault.mark.line, |(line, _)| line);
            documents.push((line, Err(fault)));
            // The neighbours of a document that cannot be read are read all the same.
            if !matches!(parser.proceed_next_document(), Ok(true)) {
                break;
            }
        }
        if documents.len() > MOST_DOCUMENTS {
            let line = documents.last().map_or(1, |(line, _)| *line);
            let problem = Problem::new("", "the file has too many documents")
                .allowed(format!("at most {MOST_DOCUMENTS}"));
            let mark = Mark { line, column: 1 };
            return vec![(1, Err(Box::new(Fault { problem, mark })))];
        }
    }
    documents
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's errors are not ours: most are well said by itself"
)]
fn syntax(error: &ScanError, builder: Option<&Builder>) -> Box<Fault> {
    let mark = Mark {
        line: error.marker().line(),
        column: error.marker().col() + 1,
    };
    let path = builder.map(Builder::path).unwrap_or_default();
    let problem = match error.kind() {
        ErrorKind::TabNotAllowed
        | ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabInPlainScalar
        | ErrorKind::TabAtBlockScalarStart => {
            Problem::new(path, "a tab cannot indent YAML").allowed("spaces")
        }
        ErrorKind::RecursionLimitExceeded => {
            Problem::new(path, format!("nested deeper than {DEEPEST} levels"))
                .allowed(format!("at most {DEEPEST} levels"))
        }
        ErrorKind::UnknownAnchor => Problem::new(path, "the alias names no anchor above it")
            .allowed("an alias of an anchor in the same document"),
        ErrorKind::UnexpectedCharacter { character } => Problem::new(
            path,
            format!(
                "the character {} is not expected here",
                shown(&character.to_string())
            ),
        )
        .allowed("YAML or JSON"),
        kind => Problem::new(path, format!("this is no YAML: {kind}")).allowed("YAML or JSON"),
    };
    Box::new(Fault { problem, mark })
}

impl Node {
    /// What the text says, as JSON. Of two fields of one name the last counts; `faults` has refused them before.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(Node::to_json).collect()),
            Kind::Mapping(entries) => {
                let pairs = entries
                    .iter()
                    .map(|entry| (entry.name.clone(), entry.value.to_json()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// Everything that is wrong with the tree itself.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, path: &str, found: &mut Vec<Fault>) {
        if let Some(wrong) = self.wrong {
            let problem = Problem::new(path, wrong)
                .allowed("plain values, lists, and mappings with text as names");
            found.push(Fault {
                problem,
                mark: self.mark,
            });
        }
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    item.collect(&format!("{path}[{index}]"), found);
                }
            }
            Kind::Mapping(entries) => {
                let mut lines = std::collections::BTreeMap::new();
                for entry in entries {
                    let mut path = path.to_owned();
                    join(&mut path, &entry.name);
                    if let Some(first) = lines.insert(&entry.name, entry.mark.line) {
                        let wrong = format!("is given twice, first on line {first}");
                        found.push(Fault {
                            problem: Problem::new(&path, wrong).allowed("each field once"),
                            mark: entry.mark,
                        });
                    }
                    entry.value.collect(&path, found);
                }
            }
        }
    }

    /// The place of the field at `path`, or of what is nearest above it.
    pub(super) fn locate(&self, path: &str) -> Mark {
        let mut names: Vec<String> = Vec::new();
        let mut here = self;
        let mut at = String::new();
        let mut mark = self.mark;
        while at != path {
            let Some((name, below, next, key)) = here.step(&at, path) else {
                break;
            };
            names.push(name);
            at = below;
            here = next;
            mark = match (&here.kind, key) {
                (Kind::Scalar(value), _) if !value.is_null() => here.mark,
                (_, Some(key)) => key,
                (_, None) => here.mark,
            };
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Some(key) = key.filter(|_| schema::at(schema::release(), &names).is_none()) {
                // The name itself is wrong.
                return key;
            }
        }
        mark
    }

    /// One step from `at` towards `path`.
    fn step(&self, at: &str, path: &str) -> Option<(String, String, &Node, Option<Mark>)> {
        let towards = |below: &String| {
            path.strip_prefix(below.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => items.iter().enumerate().find_map(|(index, item)| {
                let below = Some(format!("{at}[{index}]")).filter(towards)?;
                Some((index.to_string(), below, item, None))
            }),
            Kind::Mapping(entries) => entries.iter().find_map(|entry| {
                let mut below = at.to_owned();
                join(&mut below, &entry.name);
                Some((
                    entry.name.clone(),
                    Some(below).filter(towards)?,
                    &entry.value,
                    Some(entry.mark),
                ))
            }),
        }
    }
}
