//! Writes the JSON Schemas into a folder, or checks that the folder has exactly these: `--write DIR` or `--check DIR`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["--write", folder] => write(Path::new(folder)),
        ["--check", folder] => check(Path::new(folder)),
        _ => Err("usage: schemas --write DIR | --check DIR".to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("schemas: {error}");
            ExitCode::FAILURE
        }
    }
}

fn files() -> Result<Vec<(&'static str, String)>, String> {
    let text = |schema| {
        serde_json::to_string_pretty(&schema)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string())
    };
    fm_api::schema::all()
        .into_iter()
        .map(|(name, schema)| Ok((name, text(schema)?)))
        .collect()
}

fn write(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for (name, text) in files()? {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn check(folder: &Path) -> Result<(), String> {
    let wanted = files()?;
    let mut wrong = Vec::new();
    for (name, text) in &wanted {
        if std::fs::read_to_string(folder.join(name)).ok().as_ref() != Some(text) {
            wrong.push((*name).to_owned());
        }
    }
    let entries =
        std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(".schema.json") && !wanted.iter().any(|(wanted, _)| *wanted == name) {
            wrong.push(name);
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{} differ from the types in {}; `make schemas` writes them anew",
        wrong.join(", "),
        folder.display()
    ))
}
