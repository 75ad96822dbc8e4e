//! What was measured: a table for people, JSON lines for machines.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use fm_harness::{program, run};
use serde_json::json;

/// Everything measured in this run.
pub(crate) struct Record {
    folder: PathBuf,
    file: std::fs::File,
    rows: Vec<[String; 5]>,
}

impl Record {
    /// An empty record; the file of the last run is replaced.
    pub(crate) fn new() -> Result<Self> {
        let folder = program("fm-bench")?
            .ancestors()
            .nth(2)
            .context("the target folder is unknown")?
            .join("bench");
        std::fs::create_dir_all(&folder)?;
        Ok(Self {
            file: std::fs::File::create(folder.join("summary.jsonl"))?,
            folder,
            rows: Vec::new(),
        })
    }

    /// Where what is measured may lie.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes one measurement down. `baseline` is what the ratio is taken against, `goal` is for people.
    pub(crate) fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        baseline: Option<f64>,
        goal: &str,
    ) -> Result<()> {
        let ratio = baseline
            .filter(|baseline| *baseline > 0.0)
            .map(|baseline| value / baseline);
        writeln!(
            self.file,
            "{}",
            json!({ "name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio })
        )?;
        let text = |number: Option<f64>| {
            number
                .map(|number| format!("{number:.3}"))
                .unwrap_or_default()
        };
        let row = [
            name.to_owned(),
            format!("{value:.3} {unit}"),
            text(baseline),
            text(ratio),
            goal.to_owned(),
        ];
        eprintln!("  {}", row.join("  "));
        self.rows.push(row);
        Ok(())
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        let head = ["measured", "value", "baseline", "ratio", "goal"].map(str::to_owned);
        let rows: Vec<&[String; 5]> = std::iter::once(&head).chain(&self.rows).collect();
        let widths: Vec<usize> = (0..5)
            .map(|column| {
                rows.iter()
                    .map(|row| row[column].chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in rows {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            println!("{}", line.join("  ").trim_end());
        }
    }
}

/// The quantile of a sample, by the nearest rank.
pub(crate) fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = ((sorted.len() as f64 * q).ceil() as usize).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// How large the programs are.
pub(crate) fn sizes(record: &mut Record) -> Result<()> {
    for name in ["frd", "frctl"] {
        let size = std::fs::metadata(program(name)?)?.len() as f64 / 1e6;
        record.add(
            &format!("binary_size_{name}"),
            size,
            "MB",
            None,
            "for the record",
        )?;
    }
    Ok(())
}

/// How long a build from nothing takes.
pub(crate) async fn clean_build(record: &mut Record) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let started = Instant::now();
    let path = folder.path().to_string_lossy().into_owned();
    run(
        "cargo",
        &[
            "build",
            "--locked",
            "--release",
            "--quiet",
            "-p",
            "frd",
            "-p",
            "frctl",
            "--target-dir",
            &path,
        ],
    )
    .await?;
    record.add(
        "clean_build",
        started.elapsed().as_secs_f64(),
        "s",
        None,
        "for the record",
    )
}
