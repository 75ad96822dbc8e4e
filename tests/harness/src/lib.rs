//! What the demo, the end-to-end tests and the benchmarks share: real stacks of `frd`, HAProxy and a store on free
//! loopback ports and in temporary folders, a steady load, and what was seen of it.
//!
//! It never touches what it did not start: processes are ended by their pid, services by the namespace of the run.

pub mod api;
pub mod etcd;
pub mod image;
pub mod load;
pub mod prometheus;
pub mod registry;
pub mod stack;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Where the workspace's programs are: beside the running one, or in a folder above it.
///
/// # Errors
/// When the program was not built; the text says how to build it.
pub fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("the running program's path is unknown")?;
    own.ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: run `cargo build --workspace --bins` first"))
}

/// Where [`free_port`] looks: below what Swarm (30000) and the kernel (32768) give away by themselves, so that nobody's
/// connection takes a port between this look and its use.
const PORTS: std::ops::Range<u16> = 20_000..30_000;

/// A port that nobody uses, another one at each call.
///
/// # Errors
/// When the machine has no free port.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = u32::from(PORTS.end - PORTS.start);
    // Two processes at once begin at different places.
    let begin = std::process::id().wrapping_mul(97);
    (0..count)
        .map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % count)
        .filter_map(|place| u16::try_from(place).ok())
        .map(|place| PORTS.start + place)
        .find(|port| std::net::TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .context("no free port")
}

/// A short name that no other run has.
#[must_use]
pub fn unique() -> String {
    let id = uuid::Uuid::now_v7().simple().to_string();
    id[id.len() - 8..].to_owned()
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or fails; the text holds what it said.
pub async fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} {} failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `docker` prints, where there is nothing else to do about it if it fails: to clean up.
fn docker(arguments: &[&str]) -> String {
    let output = std::process::Command::new("docker")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// Asks again and again until the answer is there.
///
/// # Errors
/// When it is not there in time; the text says what was waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> F,
) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if started.elapsed() > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a process is there (a zombie is not).
#[must_use]
pub fn alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|text| {
        text.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

/// Sends a signal to one process that we started.
///
/// # Errors
/// When the signal cannot be sent.
pub async fn signal(pid: u32, name: &str) -> Result<()> {
    // The shell's own: a bare machine has no such program.
    run("sh", &["-c", &format!("kill -{name} {pid}")])
        .await
        .map(drop)
}
