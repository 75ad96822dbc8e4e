//! What the audience sees: lines with the time, a live line below them, and the table at the end.
//!
//! A task of its own reads the release's picture ten times a second, and writes down from when to when which split was
//! in force: the shares that were measured are held against these.

use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fm_harness::api::Api;
use fm_harness::load::Load;
use serde_json::Value;

/// A stretch of time in which one split was in force.
#[derive(Debug, Clone)]
pub(crate) struct Stretch {
    /// The version on trial.
    pub(crate) version: String,
    /// The share that was in force, in percent.
    pub(crate) wanted: f64,
    /// When it began.
    pub(crate) from: Instant,
    /// When it ended; `None` while it lasts.
    pub(crate) to: Option<Instant>,
}

/// The stage: everything that is printed goes through it.
pub(crate) struct Stage {
    started: Instant,
    terminal: bool,
    live: Mutex<String>,
    stretches: Mutex<Vec<Stretch>>,
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new() -> Arc<Self> {
        let terminal = std::io::stdout().is_terminal();
        Arc::new(Self {
            started: Instant::now(),
            terminal,
            live: Mutex::default(),
            stretches: Mutex::default(),
        })
    }

    /// Opens a chapter.
    pub(crate) fn chapter(&self, title: &str) {
        self.print(&if self.terminal {
            format!("\n\x1b[1m{title}\x1b[0m")
        } else {
            format!("\n{title}")
        });
    }

    /// Says what happened now.
    pub(crate) fn say(&self, what: &str) {
        self.print(&format!(
            "{:7.1} s  {what}",
            self.started.elapsed().as_secs_f64()
        ));
    }

    /// Prints a line above the live one.
    pub(crate) fn print(&self, text: &str) {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let clear = if self.terminal { "\r\x1b[2K" } else { "" };
        // Nobody may be reading: the story goes on.
        let _ = writeln!(out, "{clear}{text}");
        if self.terminal {
            let _ = write!(out, "{live}");
        }
        let _ = out.flush();
    }

    fn redraw(&self, text: String) {
        if !self.terminal {
            return;
        }
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        *live = text;
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "\r\x1b[2K{live}");
        let _ = out.flush();
    }

    /// Ends the live line.
    pub(crate) fn curtain(&self) {
        self.redraw(String::new());
    }

    /// All stretches so far.
    pub(crate) fn stretches(&self) -> Vec<Stretch> {
        self.stretches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn in_force(&self, version: Option<(String, f64)>) {
        let mut stretches = self
            .stretches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = stretches.last_mut().filter(|last| last.to.is_none()) {
            if version.as_ref().is_some_and(|(name, share)| {
                *name == last.version && (share - last.wanted).abs() < 1e-9
            }) {
                return;
            }
            last.to = Some(Instant::now());
        }
        if let Some((version, wanted)) = version.filter(|(_, share)| *share > 0.0) {
            stretches.push(Stretch {
                version,
                wanted,
                from: Instant::now(),
                to: None,
            });
        }
    }

    /// Watches a release until the task is aborted.
    pub(crate) async fn watch(self: Arc<Self>, api: Api, namespace: String, load: Arc<Load>) {
        let (mut why, mut weight) = (String::new(), String::new());
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let view = api.view(&namespace, "shop").await;
            if view.is_null() {
                continue;
            }
            let status = &view["status"];
            let version = version_of(&status["canary"]["image"]);
            let share = in_force(&view);
            self.in_force(version.clone().zip(share));
            let now_weight = format!("{}{share:?}", version.clone().unwrap_or_default());
            if let (Some(version), Some(share)) = (&version, share)
                && now_weight != weight
                && share > 0.0
            {
                self.say(&format!("{version} serves {share} % of the requests"));
            }
            weight = now_weight;
            let now_why = status["why"].as_str().unwrap_or("").to_owned();
            if now_why != why && !now_why.is_empty() {
                self.say(&format!(
                    "  {}: {now_why}",
                    status["phase"].as_str().unwrap_or("?")
                ));
            }
            why = now_why;
            self.redraw(live(&view, &load, version.as_deref(), share));
        }
    }
}

/// The share in force in HAProxy, in percent.
pub(crate) fn in_force(view: &Value) -> Option<f64> {
    view["haproxy"].as_object()?.values().next()?["traffic"]["weight"].as_f64()
}

/// The version in an image's tag.
pub(crate) fn version_of(image: &Value) -> Option<String> {
    image.as_str()?.rsplit(':').next().map(str::to_owned)
}

fn live(view: &Value, load: &Load, version: Option<&str>, share: Option<f64>) -> String {
    let now = Instant::now();
    let lately = load.between(
        now - Duration::from_secs(3),
        now - Duration::from_millis(200),
    );
    let sides = lately
        .versions
        .iter()
        .map(|(name, count)| {
            format!(
                "{name} {:.1} %",
                *count as f64 * 100.0 / lately.answered().max(1) as f64
            )
        })
        .collect::<Vec<_>>()
        .join(" · ");
    let evidence = view["verdict"]["metrics"]
        .as_array()
        .and_then(|metrics| metrics.iter().find(|metric| metric["name"] == "errors"))
        .map(|metric| {
            let part = |value: &str, threshold: &str| {
                (metric[value].as_f64().unwrap_or(0.0) / metric[threshold].as_f64().unwrap_or(1.0)
                    * 100.0)
                    .clamp(0.0, 100.0)
            };
            format!(
                " | evidence: harm {:.0} %, as good {:.0} %",
                part("logEHarm", "harmThreshold"),
                part("logENi", "niThreshold")
            )
        });
    let wanted = version
        .zip(share)
        .map(|(version, share)| format!(" (wanted {version} {share} %)"))
        .unwrap_or_default();
    let mut text = format!(
        "  {:.0} requests/s | {sides}{wanted} | failed by the platform: {}{}",
        lately.sent as f64 / 2.8,
        load.all().failures(),
        evidence.filter(|_| version.is_some()).unwrap_or_default(),
    );
    // A longer line would wrap, and could not be drawn over.
    let columns: usize = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(118);
    if text.chars().count() > columns {
        text = text.chars().take(columns).collect();
    }
    text
}
