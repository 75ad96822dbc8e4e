//! Who else listens where this HAProxy does.
//!
//! HAProxy binds with SO_REUSEPORT: a second one on the same address starts without an error and takes a part of the requests,
//! which nobody leads. The kernel's list of listening sockets and every process's descriptors tell who it is. The rule: one
//! that runs from our own configuration file, as we or HAProxy's own user, is ours; it lost its sockets and is replaced, softly.
//! Anybody else is named and left alone, and HAProxy is not started beside it. What must never happen: a signal to a process
//! that is not ours.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::names::hash10;

/// Names of commands are long at times.
const SHOWN: usize = 160;

/// Another process that listens where this HAProxy does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Other {
    /// Where.
    pub(crate) address: SocketAddr,
    /// Which process; `None`: it cannot be seen by us.
    pub(crate) pid: Option<u32>,
    /// Its command line, and the id of its user where that is not known.
    command: String,
    /// It runs from our own configuration file.
    pub(crate) ours: bool,
}

/// What is known of the sockets on our addresses.
#[derive(Debug)]
pub(crate) struct Ports {
    config: PathBuf,
    wanted: Vec<SocketAddr>,
    /// By the socket's number: whose it was found to be; `None` is this HAProxy's own.
    known: BTreeMap<u64, Option<Other>>,
}

impl Ports {
    /// For these addresses, and the HAProxy that starts from this file.
    pub(crate) fn new(config: &Path, binds: impl Iterator<Item = String>) -> Self {
        Self {
            config: config.to_owned(),
            wanted: binds.flat_map(|bind| addresses(&bind)).collect(),
            known: BTreeMap::new(),
        }
    }

    /// Who listens there besides these processes and their children. `certain`: only where one of our own was found too, as
    /// processes of another namespace look like strangers.
    pub(crate) fn others(&mut self, own: &[u32], certain: bool) -> Vec<Other> {
        let listed = listening();
        let here: BTreeMap<u64, (SocketAddr, u32)> = listed
            .into_iter()
            .filter(|(_, address, _)| self.wanted.iter().any(|bind| takes_from(*bind, *address)))
            .map(|(inode, address, user)| (inode, (address, user)))
            .collect();
        self.known.retain(|inode, _| here.contains_key(inode));
        let mut found = self.known.clone();
        let fresh: Vec<u64> = (here.keys())
            .filter(|inode| !found.contains_key(inode))
            .copied()
            .collect();
        let mut holders = holders(&fresh);
        for (inode, (address, user)) in here {
            if found.contains_key(&inode) {
                continue;
            }
            let pids = holders.remove(&inode).unwrap_or_default();
            let is_own =
                |pid: &u32| own.contains(pid) || parent(*pid).is_some_and(|up| own.contains(&up));
            let other = match pids.first() {
                _ if pids.iter().any(is_own) => None,
                // Its own descriptors cannot be seen: it may well be HAProxy's.
                None if own.iter().any(|pid| !is_seen(*pid)) => None,
                Some(pid) => Some(self.process(address, *pid)),
                None => Some(Other {
                    address,
                    pid: None,
                    command: format!("a process of user {user} that frd may not see"),
                    ours: false,
                }),
            };
            // While HAProxy's own processes are not known nothing is certain.
            if !pids.is_empty() && !own.is_empty() {
                self.known.insert(inode, other.clone());
            }
            found.insert(inode, other);
        }
        if certain && !found.values().any(Option::is_none) {
            return Vec::new();
        }
        let mut all: Vec<Other> = found.into_values().flatten().collect();
        all.sort_by_key(|other| (other.address, other.pid));
        all
    }

    /// Forgets what was found, after HAProxy's processes changed.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
    }

    fn process(&self, address: SocketAddr, pid: u32) -> Other {
        let arguments = command_line(pid);
        let ours = runs_from(&arguments, &self.config) && same_user(pid);
        let mut command: String = arguments.join(" ").chars().take(SHOWN).collect();
        if command.is_empty() {
            command = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        }
        Other {
            address,
            pid: Some(pid),
            command: command.trim().to_owned(),
            ours,
        }
    }

    /// Lets an earlier HAProxy of ours finish what it has. It must still be what it was found to be.
    pub(crate) fn stop_softly(&self, other: &Other) -> bool {
        let Some(pid) = other.pid.filter(|_| other.ours) else {
            return false;
        };
        let ours = |pid: u32| runs_from(&command_line(pid), &self.config) && same_user(pid);
        // Its master, where it has one: it ends with its workers.
        let first = parent(pid).filter(|up| ours(*up)).unwrap_or(pid);
        let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
        match pid.filter(|_| ours(first)) {
            Some(pid) => kill_process(pid, Signal::USR1).is_ok(),
            None => false,
        }
    }
}

impl std::fmt::Display for Other {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is taken by ", self.address)?;
        match self.pid {
            Some(pid) => write!(f, "process {pid} (`{}`)", self.command),
            None => f.write_str(&self.command),
        }
    }
}

/// What to do about others, as one sentence.
pub(crate) fn sentence(others: &[Other]) -> String {
    let all: Vec<String> = others.iter().map(ToString::to_string).collect();
    format!(
        "{}: whoever listens at the same address gets a part of the requests, and nobody leads it. Stop that process, or give \
         this frd another address (--http-bind)",
        all.join("; ")
    )
}

/// Why an earlier HAProxy of ours is not replaced.
pub(crate) fn forgotten(ours: &[Other]) -> String {
    let all: Vec<String> = ours.iter().map(ToString::to_string).collect();
    format!(
        "{}: an earlier HAProxy of this frd, whose folder is gone: it serves on as it was. Bring the folder back (mount, backup) \
         or, where everything is to begin anew, let it be replaced",
        all.join("; ")
    )
}

/// What a person accepts before a HAProxy of ours is replaced that knows more than we do.
pub(crate) fn word(others: &[Other]) -> String {
    let pids: Vec<String> = others
        .iter()
        .map(|other| format!("{:?}", other.pid))
        .collect();
    let pids: Vec<&str> = pids.iter().map(String::as_str).collect();
    format!("haproxy-{}", hash10(&pids))
}

/// The addresses of a bind.
fn addresses(bind: &str) -> Vec<SocketAddr> {
    let Some((host, port)) = bind.rsplit_once(':') else {
        return Vec::new();
    };
    let Ok(port) = port.parse() else {
        return Vec::new();
    };
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    match host {
        "" | "*" => vec![SocketAddr::new(any, port)],
        _ => (host, port)
            .to_socket_addrs()
            .map(Iterator::collect)
            .unwrap_or_default(),
    }
}

/// Whether a socket at `other` gets requests that were sent to `bind`: the nearer address wins, and equal ones share.
fn takes_from(bind: SocketAddr, other: SocketAddr) -> bool {
    let ip = other.ip().to_canonical();
    bind.port() == other.port()
        && bind.is_ipv4() == ip.is_ipv4()
        && (bind.ip() == ip || bind.ip().is_unspecified())
}

/// Every listening socket: its number, its address, its user. They come first in the kernel's lists.
fn listening() -> Vec<(u64, SocketAddr, u32)> {
    let mut all = Vec::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(file) = std::fs::File::open(path) else {
            continue;
        };
        let lines = std::io::BufReader::new(file).lines().skip(1);
        all.extend(lines.map_while(|line| listener(&line.ok()?)));
    }
    all
}

/// One line of `/proc/net/tcp`; `None` where it is no listening socket.
fn listener(line: &str) -> Option<(u64, SocketAddr, u32)> {
    let field: Vec<&str> = line.split_ascii_whitespace().collect();
    if *field.get(3)? != "0A" {
        return None;
    }
    let (ip, port) = field.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits, each as this machine keeps them.
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    let (user, inode) = (field.get(7)?.parse().ok()?, field.get(9)?.parse().ok()?);
    Some((inode, SocketAddr::new(ip, port), user))
}

/// Which processes have these sockets, as far as they can be seen.
fn holders(inodes: &[u64]) -> BTreeMap<u64, Vec<u32>> {
    let mut found: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    if inodes.is_empty() {
        return found;
    }
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        for fd in std::fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let Ok(link) = std::fs::read_link(fd.path()) else {
                continue;
            };
            let inode = link.to_str().and_then(|link| {
                let number = link.strip_prefix("socket:[")?.strip_suffix(']')?;
                number.parse::<u64>().ok()
            });
            if let Some(inode) = inode.filter(|inode| inodes.contains(inode)) {
                found.entry(inode).or_default().push(pid);
            }
        }
    }
    found
}

fn is_seen(pid: u32) -> bool {
    let first = std::fs::read_dir(format!("/proc/{pid}/fd")).map(|mut all| all.next());
    first.is_ok_and(|entry| {
        entry.is_none_or(|entry| entry.is_ok_and(|entry| entry.path().read_link().is_ok()))
    })
}

fn command_line(pid: u32) -> Vec<String> {
    let text = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let parts = text
        .split(|byte| *byte == 0)
        .filter(|part| !part.is_empty());
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}

/// Whether a command is a HAProxy that reads this configuration file.
fn runs_from(arguments: &[String], config: &Path) -> bool {
    let program = arguments.first().map(Path::new).and_then(Path::file_name);
    program.is_some_and(|name| name.to_string_lossy().contains("haproxy"))
        && arguments
            .windows(2)
            .any(|two| matches!(two, [flag, file] if flag == "-f" && Path::new(file) == config))
}

/// Whether the process is one of our own user, or of one that root gave its work to.
fn same_user(pid: u32) -> bool {
    let user = |pid: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))?
            .to_owned();
        line.split_ascii_whitespace().next()?.parse::<u32>().ok()
    };
    let mine = user("self");
    mine.is_some() && (mine == Some(0) || user(&pid.to_string()) == mine)
}

fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_sockets_are_read() {
        let v4 = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000   106        0 4711 1 0 100 0";
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(listener(v4), Some((4711, at("127.0.0.1:8080"), 106)));
        let v6 = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 12 1 0";
        assert_eq!(listener(v6), Some((12, at("[::1]:80"), 0)));
        assert_eq!(listener(&v4.replace(" 0A ", " 06 ")), None);
    }

    #[test]
    fn who_takes_requests_from_whom() {
        let takes = |bind: &str, other: &str| {
            let all = addresses(bind);
            assert!(!all.is_empty(), "{bind}");
            all.iter()
                .any(|bind| takes_from(*bind, other.parse().unwrap()))
        };
        assert!(takes("127.0.0.1:80", "127.0.0.1:80"));
        assert!(takes("*:80", "127.0.0.1:80") && takes(":80", "0.0.0.0:80"));
        assert!(takes("127.0.0.1:80", "[::ffff:127.0.0.1]:80"));
        assert!(takes("[::1]:80", "[::1]:80"));
        // The nearer address keeps what is its own.
        assert!(!takes("127.0.0.1:80", "0.0.0.0:80"));
        assert!(!takes("127.0.0.1:80", "127.0.0.2:80") && !takes("*:80", "127.0.0.1:81"));
        assert!(!takes("*:80", "[::]:80"));
    }

    #[test]
    fn ours_is_what_runs_from_our_file() {
        let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let config = Path::new("/var/lib/fm/haproxy/haproxy.cfg");
        assert!(runs_from(
            &line("/usr/sbin/haproxy -W -f /var/lib/fm/haproxy/haproxy.cfg"),
            config
        ));
        assert!(!runs_from(
            &line("/usr/sbin/haproxy -W -f /etc/haproxy/haproxy.cfg"),
            config
        ));
        assert!(!runs_from(
            &line("vi -f /var/lib/fm/haproxy/haproxy.cfg"),
            config
        ));
        assert!(!runs_from(&[], config));
    }

    #[test]
    fn a_socket_of_this_process_is_found_with_its_command() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let mut ports = Ports::new(
            Path::new("/nowhere/haproxy.cfg"),
            std::iter::once(address.to_string()),
        );
        let me = std::process::id();
        let others = ports.others(&[1], false);
        assert_eq!(
            others.first().and_then(|other| other.pid),
            Some(me),
            "{others:?}"
        );
        assert!(sentence(&others).contains(&format!("{address} is taken by process {me}")));
        assert!(!others[0].ours && !ports.stop_softly(&others[0]));
        ports.forget();
        assert!(ports.others(&[me], false).is_empty(), "it is our own then");
        drop(taken);
        assert!(ports.others(&[1], false).is_empty());
    }
}
