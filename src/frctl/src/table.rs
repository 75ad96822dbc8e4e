//! Columns for people. Pure.

use crate::text::{Look, cut, pad, width};

/// A table without lines: columns two spaces apart, the last one cut at the terminal's edge.
#[derive(Debug, Default)]
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column names.
    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            head: head.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// A table with as many columns as there are names.
    pub(crate) fn with(head: &[&str]) -> Self {
        Self {
            head: head.iter().map(|name| (*name).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of as many cells as there are names.
    pub(crate) fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// Adds a row.
    pub(crate) fn row<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    /// As text, with a newline after each line.
    pub(crate) fn render(&self, look: &Look) -> String {
        let mut widths: Vec<usize> = self.head.iter().map(|name| width(name)).collect();
        for row in &self.rows {
            for (known, cell) in widths.iter_mut().zip(row) {
                *known = (*known).max(width(cell));
            }
        }
        let mut out = String::new();
        let head = line(&self.head, &widths);
        out.push_str(&look.paint.dim(&fit(&head, look)));
        out.push('\n');
        for row in &self.rows {
            out.push_str(&fit(&line(row, &widths), look));
            out.push('\n');
        }
        out
    }
}

fn fit(line: &str, look: &Look) -> String {
    match look.width {
        Some(columns) => cut(line, columns.max(20)),
        None => line.to_owned(),
    }
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let mut out = String::new();
    for (index, (cell, columns)) in cells.iter().zip(widths).enumerate() {
        if index > 0 {
            out.push_str("  ");
        }
        if index + 1 == cells.len() {
            out.push_str(cell);
        } else {
            out.push_str(&pad(cell, *columns));
        }
    }
    out.trim_end().to_owned()
}
