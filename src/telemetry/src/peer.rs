//! Whose the other end of a connection on this machine is, as the kernel's table of sockets says.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;

const ROOT: u32 = 0;

/// As whom the workers of a HAProxy run that root starts.
const WORKERS: &str = "haproxy";

/// Whether the process at the other end is of our own user, root's, or where we are root of HAProxy's own, to which its workers
/// are given. What the kernel does not know is not.
pub(crate) fn is_ours(peer: SocketAddr, own: SocketAddr) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let us = std::fs::metadata("/proc/self").map(|process| process.uid());
    let Some(user) = user(&table, peer, own) else {
        return false;
    };
    match us {
        _ if user == ROOT => true,
        Ok(ROOT) => workers().is_some_and(|workers| workers == user),
        Ok(us) => us == user,
        Err(_) => false,
    }
}

/// The id of the account that HAProxy's workers get.
fn workers() -> Option<u32> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut field = line.split(':');
        (field.next() == Some(WORKERS)).then(|| field.nth(1)?.parse().ok())?
    })
}

/// The user whose socket has this address, and that one at its other end.
fn user(table: &str, local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    let (local, remote) = (written(local)?, written(remote)?);
    let row = table.lines().skip(1).map(str::split_ascii_whitespace);
    // sl local_address rem_address st tx:rx tr:tm retrnsmt uid …
    let mut users = row.filter_map(|mut fields| {
        let ends = (fields.nth(1)?, fields.next()?);
        (ends == (local.as_str(), remote.as_str())).then(|| fields.nth(4)?.parse().ok())?
    });
    users.next()
}

/// An address as the table has it: the bytes as this machine keeps them, then the port.
fn written(address: SocketAddr) -> Option<String> {
    let IpAddr::V4(ip) = address.ip() else {
        return None;
    };
    let number = u32::from_ne_bytes(ip.octets());
    Some(format!("{number:08X}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn whose_a_socket_is_stands_in_the_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:4A38 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1\n   \
                     1: 0100007F:D431 0100007F:4A38 01 00000000:00000000 00:00000000 00000000  1000        0 2 1\n";
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(user(table, at(0xD431), at(0x4A38)), Some(1000));
        assert_eq!(user(table, at(0x4A38), at(0xD431)), None);
        assert_eq!(user("", at(1), at(2)), None);
        assert_eq!(
            user("no table\nx\n", "[::1]:1".parse().unwrap(), at(2)),
            None
        );
    }

    #[test]
    fn a_connection_of_ours_is_ours() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let _stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_taken, peer) = listener.accept().unwrap();
        assert!(is_ours(peer, listener.local_addr().unwrap()));
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(!is_ours(nobody, listener.local_addr().unwrap()));
    }
}
