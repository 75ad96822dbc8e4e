//! The rules for Prometheus are right by Prometheus' own judgement, and are what `frctl metrics rules` prints.

use std::path::Path;
use std::process::Command;

fn promtool(arguments: &[&str]) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(folder)
        .output()
        .map_err(|error| format!("promtool (tests/setup/packages.sh test): {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&text).into_owned())
    }
}

#[test]
fn the_rules_hold() -> Result<(), String> {
    promtool(&["check", "rules", "fridaymorning.rules.yml"])?;
    promtool(&["test", "rules", "tests.yml"])
}

#[test]
fn the_rules_are_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_frctl"))
        .args(["metrics", "rules"])
        .output()
        .unwrap();
    let rules = include_str!("../rules/fridaymorning.rules.yml");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), rules);
}
