//! Builds the tree of one document from the parser's events.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::Value;
use serde_saphyr::granit_parser::{Event, ScalarStyle, Tag};

use super::{DEEPEST, Entry, Fault, Kind, Mark, Node};
use crate::manifest::scalar;
use crate::problem::{Problem, join};

/// Values of one document, aliases written out.
const MOST_NODES: usize = 50_000;
/// Bytes of text of one document, aliases written out.
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// Nothing that we know lies deeper, so a longer path helps nobody.
const LONGEST_PATH: usize = 12;

/// What a node costs when an alias repeats it.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// A list or mapping that has begun.
#[derive(Debug)]
struct Frame {
    node: Node,
    anchor: usize,
    cost: Cost,
    /// A mapping's name that waits for its value.
    name: Option<(String, Mark)>,
}

/// The tree so far.
#[derive(Debug, Default)]
pub(super) struct Builder {
    frames: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, (Node, Cost)>,
    nodes: usize,
    bytes: usize,
}

impl Builder {
    /// Takes the parser's next event.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser's events are not ours: what holds no value is left out"
    )]
    pub(super) fn take(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Box<Fault>> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let bytes = text.len();
                let (value, wrong) = scalar_value(text, style, tag.as_deref());
                let name = name_of(&value.0, &value.1);
                let node = Node {
                    mark,
                    kind: Kind::Scalar(value.1),
                    wrong,
                };
                let cost = Cost {
                    nodes: 1,
                    bytes,
                    height: 1,
                };
                self.spend(cost, mark)?;
                self.place(node, anchor, cost, Some(name))
            }
            Event::SequenceStart(_, anchor, tag) => self.begin(
                Kind::List(Vec::new()),
                anchor,
                tag.as_deref().is_some_and(foreign),
                mark,
            ),
            Event::MappingStart(_, anchor, tag) => self.begin(
                Kind::Mapping(Vec::new()),
                anchor,
                tag.as_deref().is_some_and(foreign),
                mark,
            ),
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(frame) => self.place(merged(frame.node), frame.anchor, frame.cost, None),
                None => Ok(()),
            },
            Event::Alias(anchor) => {
                let Some((node, cost)) = self.anchors.get(&anchor).cloned() else {
                    return Err(self.fault(
                        "the alias stands inside its own anchor",
                        "an alias after its anchor's end",
                        mark,
                    ));
                };
                self.spend(cost, mark)?;
                let name = match &node.kind {
                    Kind::Scalar(value) => Some(name_of("", value)),
                    Kind::List(_) | Kind::Mapping(_) => None,
                };
                self.place(Node { mark, ..node }, 0, cost, name)
            }
            // Comments are off, and the others hold no value.
            _ => Ok(()),
        }
    }

    /// The document's tree; nothing if it is empty.
    pub(super) fn finish(self) -> Option<Node> {
        self.root
            .filter(|root| !matches!(root.kind, Kind::Scalar(Value::Null)))
    }

    /// The path of what is being read.
    pub(super) fn path(&self) -> String {
        let mut path = String::new();
        for frame in self.frames.iter().take(LONGEST_PATH) {
            match (&frame.node.kind, &frame.name) {
                (Kind::List(items), _) => path.push_str(&format!("[{}]", items.len())),
                (_, Some((name, _))) => join(&mut path, name),
                (_, None) => {}
            }
        }
        path
    }

    fn begin(
        &mut self,
        kind: Kind,
        anchor: usize,
        foreign: bool,
        mark: Mark,
    ) -> Result<(), Box<Fault>> {
        let cost = Cost {
            nodes: 1,
            bytes: 0,
            height: 1,
        };
        self.spend(cost, mark)?;
        let wrong = foreign.then_some("the tag is not known here");
        self.frames.push(Frame {
            node: Node { mark, kind, wrong },
            anchor,
            cost,
            name: None,
        });
        Ok(())
    }

    fn spend(&mut self, cost: Cost, mark: Mark) -> Result<(), Box<Fault>> {
        self.nodes += cost.nodes;
        self.bytes += cost.bytes;
        if self.frames.len() + cost.height > DEEPEST {
            return Err(self.fault(
                "nested too deep",
                "at most 64 levels, aliases written out",
                mark,
            ));
        }
        if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
            return Err(self.fault(
                "the document is too large",
                "at most 50000 values and 2 MiB of text, aliases written out",
                mark,
            ));
        }
        Ok(())
    }

    fn fault(&self, wrong: &str, allowed: &str, mark: Mark) -> Box<Fault> {
        let problem = Problem::new(self.path(), wrong).allowed(allowed);
        Box::new(Fault { problem, mark })
    }

    /// Puts a finished node where it belongs; `name` is what it is called if it turns out to be a mapping's name.
    fn place(
        &mut self,
        node: Node,
        anchor: usize,
        cost: Cost,
        name: Option<String>,
    ) -> Result<(), Box<Fault>> {
        if anchor != 0 {
            // The copy is paid for too: anchors within anchors would multiply for nothing.
            self.spend(Cost { height: 0, ..cost }, node.mark)?;
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.cost.nodes += cost.nodes;
        frame.cost.bytes += cost.bytes;
        frame.cost.height = frame.cost.height.max(cost.height + 1);
        match &mut frame.node.kind {
            Kind::List(items) => items.push(node),
            Kind::Mapping(entries) => match (frame.name.take(), name) {
                (Some((name, mark)), _) => entries.push(Entry {
                    name,
                    mark,
                    value: node,
                }),
                (None, Some(name)) => frame.name = Some((name, node.mark)),
                (None, None) => {
                    frame.node.wrong = Some("a name in this mapping is itself a list or mapping");
                    frame.name = Some(("?".to_owned(), node.mark));
                }
            },
            Kind::Scalar(_) => {}
        }
        Ok(())
    }
}

/// A scalar's text and value, and why it cannot be taken.
fn scalar_value(
    text: Cow<'_, str>,
    style: ScalarStyle,
    tag: Option<&Tag>,
) -> ((String, Value), Option<&'static str>) {
    let plain = style == ScalarStyle::Plain;
    let as_text = |text: &str| Value::String(text.to_owned());
    let (value, wrong) = match tag.map(|tag| (tag.core_suffix(), tag)) {
        None if plain => (scalar::resolve(&text), None),
        None | Some((Some("str"), _)) => (as_text(&text), None),
        Some((Some("int" | "float" | "bool" | "null"), _)) => (scalar::resolve(&text), None),
        // `!` alone means: this is text.
        Some((None, tag)) if tag.suffix().is_empty() || tag.suffix() == "!" => {
            (as_text(&text), None)
        }
        Some(_) => (as_text(&text), Some("the tag is not known here")),
    };
    (
        (
            if plain {
                text.into_owned()
            } else {
                String::new()
            },
            value,
        ),
        wrong,
    )
}

/// What a scalar is called as a mapping's name: text as it is, anything else as it was written.
fn name_of(written: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        _ if !written.is_empty() => written.to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

fn foreign(tag: &Tag) -> bool {
    !matches!(tag.core_suffix(), Some("seq" | "map"))
}

/// Writes out `<<`: the fields of the mappings it names, where the mapping has none of its own.
fn merged(mut node: Node) -> Node {
    let Kind::Mapping(entries) = &mut node.kind else {
        return node;
    };
    if !entries.iter().any(|entry| entry.name == "<<") {
        return node;
    }
    let (merges, mut own): (Vec<Entry>, Vec<Entry>) = std::mem::take(entries)
        .into_iter()
        .partition(|entry| entry.name == "<<");
    let mut known: HashSet<String> = own.iter().map(|entry| entry.name.clone()).collect();
    let mut wrong = None;
    for merge in merges {
        let sources = match merge.value.kind {
            Kind::List(items) => items.into_iter().map(|item| item.kind).collect(),
            kind @ (Kind::Scalar(_) | Kind::Mapping(_)) => vec![kind],
        };
        for source in sources {
            match source {
                Kind::Mapping(fields) => {
                    for field in fields {
                        if known.insert(field.name.clone()) {
                            own.push(Entry {
                                mark: merge.mark,
                                ..field
                            });
                        }
                    }
                }
                Kind::Scalar(_) | Kind::List(_) => {
                    wrong = Some("`<<` takes a mapping or a list of mappings")
                }
            }
        }
    }
    *entries = own;
    node.wrong = node.wrong.or(wrong);
    node
}
