//! Small inputs as people write them elsewhere, each with what must come of it.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot run must fail loudly"
)]

use std::process::{Command, Output};

/// The file, the exit code, what the manifest has, what it has not, what is said.
type Case = (
    &'static str,
    i32,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

fn frctl(arguments: &[&str], file: &str) -> (Option<i32>, String, String) {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases");
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_frctl"))
        .arg(arguments[0])
        .arg(format!("{folder}/{file}"))
        .args(&arguments[1..])
        .env("FROMSHELL", "yes")
        .env_remove("QUX")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_compose_file_is_imported_with_dockers_own_meaning_or_named_line_by_line() {
    let cases: [Case; 13] = [
        (
            "F01-constraint-key-case.yml",
            0,
            &["- node.labels.zone == a"],
            &[],
            &[],
        ),
        (
            "F02-spread-not-a-label.yml",
            0,
            &["preferences: []"],
            &["node.id"],
            &["`node.id` was left out"],
        ),
        (
            "F04-env-file-quotes.yml",
            0,
            &[
                "MSG: say \"hi\"",
                "NEST: '''\"a\"'''",
                "TAIL: \"\\\"x\\\" # c\"",
            ],
            &[],
            &["as `docker stack` does"],
        ),
        (
            "F06-windows-path.yml",
            0,
            &[],
            &["target: C", "s_data"],
            &["C:\\data: is a path of Windows"],
        ),
        (
            "F07-name-ends-in-underscore.yml",
            0,
            &["- web\n"],
            &["web_"],
            &["`web_` any more"],
        ),
        (
            "F08-env-from-shell.yml",
            0,
            &["FROMSHELL: \"yes\""],
            &[],
            &[],
        ),
        (
            "F10-tcp-port-becomes-http-route.yml",
            0,
            &[],
            &["routes"],
            &["gets no route"],
        ),
        (
            "F11-nothing-imported-rc0.yml",
            1,
            &[],
            &["kind"],
            &["nothing was imported"],
        ),
        (
            "F11b-no-services-no-word.yml",
            1,
            &[],
            &["kind"],
            &["nothing was imported"],
        ),
        (
            "F12-duplicate-key-message.yml",
            1,
            &[],
            &[],
            &["line 4, column 5: `image` is given twice in one mapping"],
        ),
        ("F13-env-file-bom.yml", 0, &["A: \"1\""], &["\\uFEFF"], &[]),
        (
            "F15-label-mapping-has-no-value.yml",
            0,
            &[],
            &["traefik"],
            &["a list of labels has texts `KEY=value`"],
        ),
        (
            "F16-null-does-not-unset-env-file.yml",
            0,
            &[],
            &["QUX"],
            &["`QUX` has no value here, and is not set"],
        ),
    ];
    for (file, code, has, has_not, said) in cases {
        let arguments = ["import", "--stack", "s", "--domain", "example.com"];
        let (exit, out, err) = frctl(&arguments, &format!("import/{file}"));
        assert_eq!(exit, Some(code), "{file}: {out}{err}");
        assert!(has.iter().all(|part| out.contains(part)), "{file}: {out}");
        assert!(
            !has_not.iter().any(|part| out.contains(part)),
            "{file}: {out}"
        );
        assert!(said.iter().all(|part| err.contains(part)), "{file}: {err}");
        for word in ["DuplicateKeyPolicy", "Options", "error: error"] {
            assert!(!err.contains(word), "{file}: {err}");
        }
        if !out.is_empty() {
            for document in fm_api::manifest::read(file, out.as_bytes()) {
                document.unwrap_or_else(|problems| panic!("{file}: {problems:?}\n{out}"));
            }
        }
    }
}

#[test]
fn a_log_is_read_behind_whatever_stands_before_it_and_never_well_without_a_request() {
    for (file, code, wanted) in [
        ("G01-tag-without-time.log", 0, "1 line, 1 request"),
        ("G02b-two-blanks-after-tag.log", 0, "1 line, 1 request"),
        ("G03-busybox-facility.log", 0, "1 line, 1 request"),
        ("G04-compose-logs.log", 0, "1 line, 1 request"),
        ("G04c-service-logs.log", 0, "1 line, 1 request"),
        ("G05-iso-with-blank.log", 0, "1 line, 1 request"),
        ("G05c-journal-short-unix.log", 0, "1 line, 1 request"),
        ("G05d-year.log", 0, "1 line, 1 request"),
        (
            "G07-nginx-is-haproxys-notice-rc0.log",
            1,
            "no line of it is a request",
        ),
        ("G08-status-1000000.log", 1, "broken"),
        ("G08c-status-999-none-and-bad.log", 0, "1 line, 1 request"),
        (
            "G09-damaged-date-is-other.log",
            1,
            "log:1: 192.0.2.7:5000 []",
        ),
    ] {
        let (exit, out, err) = frctl(&["log-stats"], &format!("log/{file}"));
        assert_eq!(exit, Some(code), "{file}: {out}{err}");
        assert!(format!("{out}{err}").contains(wanted), "{file}: {out}{err}");
    }
}
