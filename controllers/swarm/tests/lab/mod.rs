//! A real Docker, a real store, and the controller between them. Everything made here is removed when it is dropped, also
//! after a failure.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use fm_api::keys::{ReleaseKey, RevisionId, prefix};
use fm_api::observed::{Resolution, SwarmObserved, SwarmRevision};
use fm_api::target::{RevisionRecord, RevisionTarget, Target};
use fm_api::workload::Workload;
use fm_runtime::{Context, SystemClock};
use fm_store::{SharedStore, Txn};
use fm_swarm::{Endpoints, Options};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here should take on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// Runs the command line of Docker; its output without the last line break.
pub(crate) fn docker(arguments: &[&str]) -> String {
    try_docker(arguments).unwrap_or_else(|error| panic!("docker {arguments:?}: {error}"))
}

fn try_docker(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("docker")
        .args(["-H", &engine().address])
        .args(arguments)
        .output()
        .map_err(|error| format!("the docker command is needed: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// The engine that the tests use: the one that runs, or one of their own.
pub(crate) struct Engine {
    pub(crate) address: String,
}

pub(crate) fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let usual = std::env::var("DOCKER_HOST");
        let usual = usual.unwrap_or_else(|_| "unix:///var/run/docker.sock".to_owned());
        let run = |arguments: &[&str]| {
            let mut command = Command::new("docker");
            let output = command.args(["-H", &usual]).args(arguments).output();
            let output = output.expect("the docker command is needed");
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            output.status.success().then_some(text)
        };
        let address = match run(&["info", "-f", "{{.Swarm.LocalNodeState}}"]).as_deref() {
            Some("active") => usual,
            // Without a manager's answer at all there is nothing to disturb.
            None | Some("") => start_engine(),
            Some(_) => {
                eprintln!("this Docker becomes a Swarm; `docker swarm leave --force` undoes it");
                run(&["swarm", "init", "--advertise-addr", "127.0.0.1"])
                    .expect("a Docker that can become a Swarm");
                usual
            }
        };
        Engine { address }
    })
}

/// Starts an engine of our own. It ends with this process: the shell between them waits on our end of a pipe.
fn start_engine() -> String {
    let folder = std::env::temp_dir().join(format!("fm-swarm-test-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let script = r#"
        ip link add fmtest0 type bridge; ip addr add 172.31.253.1/24 dev fmtest0; ip link set fmtest0 up
        cd "$0"; dockerd -H "unix://$0/docker.sock" --data-root "$0/data" --exec-root "$0/exec" \
            -p "$0/pid" --bridge=fmtest0 >"$0/log" 2>&1 &
        engine=$!
        cat >/dev/null
        kill "$engine"; wait "$engine"; ip link del fmtest0; rm -rf "$0"
    "#;
    let child = Command::new("sh")
        .args(["-c", script])
        .arg(&folder)
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell is needed to start dockerd");
    // Kept open for as long as this process lives.
    static HELD: Mutex<Option<Child>> = Mutex::new(None);
    *HELD.lock().unwrap() = Some(child);
    let address = format!("unix://{}/docker.sock", folder.display());
    let begun = Instant::now();
    let init = || {
        Command::new("docker")
            .args([
                "-H",
                &address,
                "swarm",
                "init",
                "--advertise-addr",
                "127.0.0.1",
            ])
            .output()
            .expect("the docker command is needed")
    };
    loop {
        let output = init();
        if output.status.success() {
            return address;
        }
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(
            begun.elapsed() < LONG,
            "no Docker with an active Swarm answers, and one of our own does not start: {}\n{log}",
            String::from_utf8_lossy(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// The static program of the test's images, built once.
fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let out = folder.join(format!("served-{}", std::process::id()));
        let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args([
                "-O",
                "-C",
                "target-feature=+crt-static",
                "-C",
                "strip=symbols",
            ])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/served.rs"))
            .arg("-o")
            .arg(&out)
            .status()
            .expect("rustc is needed");
        assert!(status.success(), "the test's program does not compile");
        // Under one name in the end, so that runs do not pile up.
        let kept = folder.join("served");
        std::fs::rename(&out, &kept).unwrap();
        kept
    })
}

/// A running controller with a store of its own.
pub(crate) struct Lab {
    pub(crate) store: SharedStore,
    pub(crate) key: ReleaseKey,
    pub(crate) image: String,
    pub(crate) uid: String,
    image_id: String,
    folder: TempDir,
    controller: Option<(JoinHandle<()>, CancellationToken)>,
    address: String,
    pub(crate) observe_only: bool,
    generation: u64,
    records: BTreeMap<RevisionId, RevisionRecord>,
}

impl Lab {
    /// A lab whose controller speaks with the engine.
    pub(crate) async fn start(name: &str) -> Lab {
        Lab::start_at(name, engine().address.clone()).await
    }

    /// A lab whose controller finds Docker there.
    pub(crate) async fn start_at(name: &str, address: String) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let store = fm_store::embedded::open(folder.path()).unwrap();
        let namespace = format!("t{}", std::process::id());
        let mut lab = Lab {
            store,
            key: ReleaseKey::new(&namespace, name),
            image: format!("fm-test/{namespace}-{name}:1"),
            uid: format!("uid-{name}"),
            image_id: String::new(),
            folder,
            controller: None,
            address,
            observe_only: false,
            generation: 0,
            records: BTreeMap::new(),
        };
        lab.build_image();
        lab.start_controller();
        lab
    }

    fn build_image(&mut self) {
        let context = self.folder.path().join("image");
        std::fs::create_dir_all(&context).unwrap();
        std::fs::copy(program(), context.join("served")).unwrap();
        let mut file = std::fs::File::create(context.join("Dockerfile")).unwrap();
        // The label makes each lab's image another one.
        let label = self.key.to_string();
        write!(
            file,
            "FROM scratch\nLABEL lab={label}\nCOPY served /served\nENTRYPOINT [\"/served\"]\n"
        )
        .unwrap();
        let context = context.display().to_string();
        self.image_id = docker(&["build", "-q", "-t", &self.image, &context]);
    }

    pub(crate) fn start_controller(&mut self) {
        let shutdown = CancellationToken::new();
        let ctx = Context {
            store: Arc::clone(&self.store),
            clock: Arc::new(SystemClock),
            identity: format!("lab-{}", self.key),
            fitness: fm_runtime::Fitness::default(),
            shutdown: shutdown.clone(),
            resync: Duration::from_secs(2),
        };
        let options = Options {
            docker: self.address.clone(),
            endpoints: Endpoints::HostPorts,
            registry_auth: BTreeMap::new(),
            policy: fm_api::policy::Policy::open(),
            observe_only: self.observe_only,
            content_grace: Duration::from_secs(1),
        };
        let task = tokio::spawn(async move {
            fm_swarm::run(ctx, options).await.unwrap();
        });
        self.controller = Some((task, shutdown));
    }

    pub(crate) async fn stop_controller(&mut self) {
        if let Some((task, shutdown)) = self.controller.take() {
            shutdown.cancel();
            task.await.unwrap();
        }
    }

    pub(crate) fn workload(&self, more: serde_json::Value) -> Workload {
        let mut workload = json!({ "image": self.image, "stopGracePeriod": "1s" });
        for (name, value) in more.as_object().unwrap() {
            workload[name] = value.clone();
        }
        serde_json::from_value(workload).unwrap()
    }

    /// Writes the target as promotion would; each revision with its replicas and restarts.
    pub(crate) async fn want(&mut self, revisions: &[(&RevisionId, u32, u32)]) -> u64 {
        let revisions = revisions
            .iter()
            .map(|(id, replicas, restarts)| {
                let wanted = RevisionTarget {
                    cut: false,
                    replicas: *replicas,
                    slot: None,
                    draining: false,
                    restarts: *restarts,
                };
                ((*id).clone(), wanted)
            })
            .collect();
        self.put_target(|target| target.revisions = revisions).await
    }

    /// Writes a target in this run of analysis.
    pub(crate) async fn want_run(&mut self, run: Option<&str>) -> u64 {
        let analysis = run.map(|run| {
            serde_json::from_value(json!({
                "run": run, "canary": "bbbb", "stable": "aaaa", "criteria": {}, "criteriaHash": "hash",
                "requestTimeout": "30s", "lastHold": "60s",
            }))
            .unwrap()
        });
        self.put_target(|target| target.analysis = analysis).await
    }

    async fn put_target(&mut self, change: impl FnOnce(&mut Target)) -> u64 {
        self.generation += 1;
        let mut target: Target = serde_json::from_value(json!({
            "uid": self.uid, "generation": self.generation, "specGeneration": self.generation,
        }))
        .unwrap();
        change(&mut target);
        let mut txn = Txn::new().put(self.key.target(), serde_json::to_vec(&target).unwrap());
        for record in self.records.values() {
            let key = self.key.revision(&record.id);
            txn = txn.put(key, serde_json::to_vec(record).unwrap());
        }
        self.store.commit(txn).await.unwrap();
        self.generation
    }

    /// Forgets a revision's record, as promotion does in the end, and what was asked last.
    pub(crate) async fn forget(&mut self, id: &RevisionId) {
        self.records.remove(id);
        let txn = Txn::new().delete(self.key.revision(id));
        self.store.commit(txn).await.unwrap();
        self.want(&[]).await;
    }

    /// The store's own name.
    pub(crate) async fn installation(&self) -> String {
        let entry = self.store.get(&fm_api::keys::installation()).await.unwrap();
        String::from_utf8(entry.unwrap().value.to_vec()).unwrap()
    }

    /// Asks for a workload to be resolved, keeping the revisions that are there.
    pub(crate) async fn resolve(&mut self, workload: &Workload) -> Resolution {
        let current = self.store.get(&self.key.target()).await.unwrap();
        let revisions = current.map_or_else(BTreeMap::new, |entry| {
            serde_json::from_slice::<Target>(&entry.value)
                .unwrap()
                .revisions
        });
        let generation = self.generation + 1;
        let resolve = json!({ "generation": generation, "workload": workload, "ports": [8080] });
        self.put_target(|target| {
            target.resolve = serde_json::from_value(resolve).unwrap();
            target.revisions = revisions;
        })
        .await;
        let seen = self
            .until("an answer to the resolve request", |seen| {
                seen.resolution
                    .as_ref()
                    .is_some_and(|r| r.generation == generation)
            })
            .await;
        seen.resolution.unwrap()
    }

    /// Resolves a workload and records it as a revision.
    pub(crate) async fn revision(&mut self, workload: &Workload) -> RevisionId {
        let resolution = self.resolve(workload).await;
        let image = resolution
            .image
            .unwrap_or_else(|| panic!("{:?}", resolution.error));
        let id = RevisionId::of(workload, &image.pinned, &[8080]);
        let record = RevisionRecord {
            id: id.clone(),
            uid: self.uid.clone(),
            number: 1,
            generation: 1,
            created_at: jiff::Timestamp::now(),
            created_by: None,
            workload: workload.clone(),
            image,
            ports: vec![8080],
            service: resolution.service.unwrap(),
            adopted: None,
        };
        self.records.insert(id.clone(), record);
        id
    }

    /// Changes the stored spec of a revision, for what no resolution would give.
    pub(crate) fn tamper(&mut self, id: &RevisionId, change: impl FnOnce(&mut serde_json::Value)) {
        change(&mut self.records.get_mut(id).unwrap().service);
    }

    pub(crate) async fn observed(&self) -> Option<SwarmObserved> {
        let entry = self.store.get(&self.key.observed_swarm()).await.unwrap()?;
        Some(serde_json::from_slice(&entry.value).unwrap())
    }

    /// Waits until what is observed is so.
    pub(crate) async fn until(
        &self,
        what: &str,
        so: impl Fn(&SwarmObserved) -> bool,
    ) -> SwarmObserved {
        let begun = Instant::now();
        loop {
            let seen = self.observed().await;
            if let Some(seen) = seen.as_ref().filter(|seen| so(seen)) {
                return seen.clone();
            }
            assert!(
                begun.elapsed() < LONG,
                "{what} did not come; observed: {seen:#?}\nevents: {:#?}",
                self.events().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn until_revision(
        &self,
        what: &str,
        id: &RevisionId,
        so: impl Fn(&SwarmRevision) -> bool,
    ) -> SwarmRevision {
        let seen = self
            .until(what, |seen| seen.revisions.get(id).is_some_and(&so))
            .await;
        seen.revisions[id].clone()
    }

    pub(crate) async fn until_ready(&self, id: &RevisionId, count: usize) -> SwarmRevision {
        let what = format!("{count} ready tasks");
        let so = |seen: &SwarmRevision| {
            seen.ready.len() == count && seen.starting == 0 && seen.leaving.is_empty()
        };
        self.until_revision(&what, id, so).await
    }

    /// The reason and message of each event.
    pub(crate) async fn events(&self) -> Vec<(String, String)> {
        let listing = self.store.list(&prefix("events")).await.unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        listing
            .entries
            .iter()
            .map(|entry| serde_json::from_slice::<serde_json::Value>(&entry.value).unwrap())
            .map(|event| (text(&event["reason"]), text(&event["message"])))
            .collect()
    }

    pub(crate) fn service(&self, id: &RevisionId) -> String {
        format!("fm_{}_{}_{id}", self.key.namespace(), self.key.name())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some((task, shutdown)) = self.controller.take() {
            shutdown.cancel();
            task.abort();
        }
        let prefix = format!("name=fm_{}_{}", self.key.namespace(), self.key.name());
        if let Ok(found) = try_docker(&["service", "ls", "-q", "-f", &prefix]) {
            for service in found.lines() {
                let _ = try_docker(&["service", "rm", service]);
            }
        }
        let jobs = format!("label=fridaymorning.dev/job-release={}", self.key);
        if let Ok(found) = try_docker(&["service", "ls", "-q", "-f", &jobs]) {
            for service in found.lines() {
                let _ = try_docker(&["service", "rm", service]);
            }
        }
        // Containers of removed services hold the image for a moment; by its tag alone it would stay behind unnamed.
        let _ = try_docker(&["image", "rm", &self.image]);
        for _ in 0..30 {
            match try_docker(&["image", "rm", &self.image_id]) {
                Err(error) if !error.contains("No such image") => {
                    std::thread::sleep(Duration::from_millis(300));
                }
                _ => break,
            }
        }
    }
}
