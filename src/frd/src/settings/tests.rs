use clap::Parser;

use super::*;

fn read(flags: &[&str]) -> Result<Settings, String> {
    let arguments =
        Arguments::try_parse_from([&["frd"], flags].concat()).map_err(|e| e.to_string())?;
    Settings::read(&arguments).map_err(|e| e.to_string())
}

fn with_file(text: &str, flags: &[&str]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("frd.yaml");
    std::fs::write(&path, text).map_err(|e| e.to_string())?;
    read(&[&["--config", path.to_str().unwrap()], flags].concat())
}

#[test]
fn without_flags_everything_is_on_this_machine() {
    let settings = read(&[]).unwrap();
    assert!(matches!(&settings.store, Store::Embedded(path) if path == Path::new(DATA_DIR)));
    assert_eq!(settings.controllers.len(), 6);
    assert_eq!(settings.socket, Path::new("/run/fridaymorning/frd.sock"));
    assert_eq!(
        settings.haproxy_dir,
        Path::new("/var/lib/fridaymorning/haproxy")
    );
    assert_eq!(settings.binds[0].address, "127.0.0.1:8080");
}

#[test]
fn flags_win_over_the_file() {
    let text = "listen: unix:/a.sock\ninstance: one\nbinds: [{ address: '*:80' }]\nlog: { level: debug }\n";
    let settings = with_file(
        text,
        &["--listen", "unix:/b.sock", "--http-bind", "127.0.0.1:81"],
    )
    .unwrap();
    assert_eq!(settings.socket, Path::new("/b.sock"));
    assert_eq!(settings.instance, "one");
    assert_eq!(settings.binds[0].address, "127.0.0.1:81");
    assert_eq!(settings.log.level, "debug");
}

#[test]
fn the_embedded_store_needs_every_controller() {
    let error = read(&["--controllers", "swarm,haproxy"]).unwrap_err();
    assert!(error.contains("--etcd"), "{error}");
    let some = read(&[
        "--controllers",
        "swarm,haproxy",
        "--etcd",
        "http://127.0.0.1:2379",
    ])
    .unwrap();
    assert_eq!(
        some.controllers,
        BTreeSet::from([Controller::Swarm, Controller::Haproxy])
    );
    let none = read(&["--controllers", "none", "--etcd", "http://127.0.0.1:2379"]).unwrap();
    assert!(none.controllers.is_empty());
    assert_eq!(none.haproxy_dir, Path::new("/run/fridaymorning/haproxy"));
}

#[test]
fn what_is_wrong_is_said_with_what_is_allowed() {
    for (flags, words) in [
        (
            vec!["--listen", "https://0.0.0.0:8443"],
            "allowed: unix:PATH",
        ),
        (vec!["--listen", "frd.sock"], "allowed: unix:PATH"),
        (
            vec!["--controllers", "swarn"],
            "allowed: all, none, promotion",
        ),
        (vec!["--controllers", "all,swarm"], "stands alone"),
        (vec!["--etcd", "127.0.0.1:2379"], "allowed: http://"),
        (vec!["--etcd-user", "x"], "need --etcd"),
        (vec!["--http-bind", "8080"], "allowed: ADDRESS:PORT"),
        (
            vec!["--http-bind", "127.0.0.1:80 accept-proxy"],
            "allowed: ADDRESS:PORT",
        ),
        (vec!["--instance", "a/b"], "allowed: up to 63"),
        (vec!["--docker", "/var/run/docker.sock"], "allowed: unix://"),
        (
            vec!["--data-dir", "/x", "--etcd", "http://x:1"],
            "cannot be used with",
        ),
    ] {
        let error = read(&flags).unwrap_err();
        assert!(error.contains(words), "{flags:?}: {error}");
    }
}

#[test]
fn a_password_comes_from_its_file_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let text = format!(
        "registryAuth: {{ main: {{ server: r.example.com, username: robot, passwordFile: {} }} }}\n",
        secret.display()
    );
    let settings = with_file(&text, &[]).unwrap();
    assert_eq!(settings.registries["main"].password, "hunter2");
    assert!(!format!("{settings:?}").contains("hunter2"));
    let error = with_file(&text.replace("password ", "nothing "), &[]).unwrap_err();
    assert!(
        error.contains("registryAuth.main.passwordFile") && error.contains("frd.yaml"),
        "{error}"
    );
}

#[test]
fn external_and_owned_exclude_each_other() {
    let both = "haproxy: { owned: {}, external: { dir: /a, adminSocket: /b, masterSocket: /c } }\n";
    assert!(with_file(both, &[]).unwrap_err().contains("exactly one"));
    let one = "haproxy: { external: { dir: /a, adminSocket: /b, masterSocket: /c, log: \"127.0.0.1:5140\" } }\n";
    let settings = with_file(one, &[]).unwrap();
    assert!(matches!(
        settings.haproxy,
        Mode::External { log: Some(_), .. }
    ));
    assert_eq!(settings.haproxy_dir, Path::new("/a"));
}

#[test]
fn a_login_names_its_servers_or_the_rest_of_the_file_does() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    let secret = secret.display();
    let registry = format!("username: robot, passwordFile: {secret}");
    let text = format!("registryAuth: {{ 'https://index.docker.io/v1/': {{ {registry} }} }}\n");
    let settings = with_file(&text, &[]).unwrap();
    let hub = &settings.registries["https://index.docker.io/v1/"];
    assert!(hub.check("team/shop:1").is_ok() && hub.check("evil.example.net/shop").is_err());
    let bearer = format!("bearer: {{ file: {secret} }}");
    let sink = "sinks: [{ influx: { address: 'http://tsdb:8086', database: fm }, authRef: a }]\n";
    for (text, origins) in [
        (
            format!("providers: {{ a: {{ {bearer} }} }}\n{sink}"),
            vec!["http://tsdb:8086"],
        ),
        (
            format!(
                "providers: {{ a: {{ {bearer} }} }}\nmetricAddresses: ['https://prometheus:9090']\n"
            ),
            vec!["https://prometheus:9090"],
        ),
        ("providers: { a: {} }\n".to_owned(), vec![]),
    ] {
        let settings = with_file(&text, &[]).unwrap();
        let found: Vec<&String> = settings.access.logins["a"].origins.iter().collect();
        assert_eq!(found, origins, "{text}");
    }
    for (text, wanted) in [
        (
            format!("registryAuth: {{ main: {{ {registry} }} }}\n"),
            "add `server: HOST",
        ),
        (
            format!("registryAuth: {{ main: {{ server: '', {registry} }} }}\n"),
            ".server",
        ),
        (
            format!("providers: {{ a: {{ {bearer} }} }}\n"),
            "add `addresses: ",
        ),
        (
            format!("providers: {{ a: {{ signingKey: {{ file: {secret} }} }} }}\n"),
            "add `addresses: ",
        ),
        (
            format!(
                "providers: {{ a: {{ {bearer} }} }}\nmetricAddresses: ['http://a:1', 'http://b:1']\n"
            ),
            "add `addresses: ",
        ),
    ] {
        let error = with_file(&text, &[]).unwrap_err();
        assert!(
            error.contains(wanted) && !error.contains("hunter2"),
            "{text}: {error}"
        );
    }
}
