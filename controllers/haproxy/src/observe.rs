//! Reads what a running HAProxy has in force.
//!
//! What must never happen: an answer that was not understood taken for an empty one.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

use crate::maps::{Entries, Map};
use crate::report::Down;
use crate::runtime::{Client, Error};
use crate::state::{Admin, Running, Server};

/// Where a spare server leads: nobody listens there.
pub(crate) const NOWHERE: &str = "127.0.0.1:1";
/// Bits of `srv_admin_state` that mean maintenance: forced, inherited, by resolution.
const MAINT: u32 = 0x01 | 0x02 | 0x20;
/// Bits that mean draining: forced, inherited.
const DRAIN: u32 = 0x08 | 0x10;

/// Reads servers, and maps too unless `maps` of an earlier reading are given.
///
/// # Errors
/// When HAProxy does not answer, or not as expected.
pub(crate) async fn read(
    client: &mut Client,
    dir: &str,
    maps: Option<&BTreeMap<Map, Entries>>,
) -> Result<Running, Error> {
    let mut commands = vec![
        "get var proc.structure".to_owned(),
        "show servers state".to_owned(),
        "show servers conn".to_owned(),
    ];
    if maps.is_none() {
        commands.extend(Map::ALL.map(|map| format!("show map {dir}/maps/{}", map.file())));
    }
    let answers = client.run(&commands).await?;
    let answer = |index: usize| answers.get(index).map_or("", String::as_str);
    let bad = |index: usize| Error::Refused {
        command: commands.get(index).cloned().unwrap_or_default(),
        answer: answer(index).chars().take(200).collect(),
    };
    let structure = structure(answer(0)).ok_or_else(|| bad(0))?;
    let mut backends = servers(answer(1)).ok_or_else(|| bad(1))?;
    for (name, index, open) in connections(answer(2)).ok_or_else(|| bad(2))? {
        if let Some(server) = backends.get_mut(&name).and_then(|all| all.get_mut(index)) {
            server.open = open;
        }
    }
    let mut running = Running {
        structure,
        backends,
        told_of_copies: told_of_copies(answer(1)),
        ..Running::default()
    };
    match maps {
        Some(known) => running.maps.clone_from(known),
        None => {
            for (place, map) in Map::ALL.into_iter().enumerate() {
                let (entries, doubled) = match answer(3 + place) {
                    // A configuration that does not use a map does not know it.
                    text if text.starts_with("Unknown map") => (Entries::new(), Vec::new()),
                    text => map_entries(text).ok_or_else(|| bad(3 + place))?,
                };
                running.maps.insert(map, entries);
                running
                    .doubled
                    .extend(doubled.into_iter().map(|key| (map, key)));
            }
        }
    }
    Ok(running)
}

/// HAProxy's words on servers that are down.
///
/// # Errors
/// When HAProxy does not answer.
pub(crate) async fn read_down(client: &mut Client) -> Result<Down, Error> {
    let answers = client.run(&["show stat -1 4 -1".to_owned()]).await?;
    Ok(answers.first().map(|text| down(text)).unwrap_or_default())
}

fn structure(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("value=<")?;
    Some(rest.strip_suffix('>')?.to_owned())
}

/// Whether this is the name of a backend of ours, and the place of a server in it.
fn place(backend: &str, server: &str) -> Option<usize> {
    let ours = backend.len() == 13
        && backend.starts_with('r')
        && backend.as_bytes().get(11) == Some(&b'_');
    let number: usize = server.strip_prefix('t')?.parse().ok()?;
    (ours && (1..=65_536).contains(&number)).then(|| number - 1)
}

/// Reads `show servers state`.
fn servers(text: &str) -> Option<BTreeMap<String, Vec<Server>>> {
    let mut lines = text.lines();
    if lines.next()?.trim() != "1" {
        return None;
    }
    let mut backends: BTreeMap<String, Vec<Server>> = BTreeMap::new();
    for line in lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let field: Vec<&str> = line.split_ascii_whitespace().collect();
        let (backend, name) = (*field.get(1)?, *field.get(3)?);
        let Some(index) = place(backend, name) else {
            continue;
        };
        let servers = backends.entry(backend.to_owned()).or_default();
        if servers.len() <= index {
            servers.resize(index + 1, Server::default());
        }
        *servers.get_mut(index)? = server(&field)?;
    }
    Some(backends)
}

fn server(field: &[&str]) -> Option<Server> {
    let flags: u32 = field.get(6)?.parse().ok()?;
    let admin = if flags & MAINT != 0 {
        Admin::Maint
    } else if flags & DRAIN != 0 {
        Admin::Drain
    } else {
        Admin::Ready
    };
    let ip: Option<IpAddr> = field.get(4)?.parse().ok();
    let port: u16 = field.get(18)?.parse().ok()?;
    let address = ip
        .map(|ip| SocketAddr::new(ip, port))
        .filter(|address| address.to_string() != NOWHERE);
    Some(Server {
        address,
        task: None,
        admin,
        up: *field.get(5)? != "0",
        reweighted: field.get(7)? != field.get(8)?,
        open: 0,
        unseen: false,
    })
}

/// Whether HAProxy can tell the agent of requests to copy, of `show servers state`; `None`: it is not made ready for that.
fn told_of_copies(text: &str) -> Option<bool> {
    let mut lines = text.lines().map(|line| line.split_ascii_whitespace());
    lines.find_map(|mut fields| {
        let is = fields.nth(1) == Some("be_mirror");
        // The server's name stands between: its operational state is the sixth field.
        is.then(|| fields.nth(3) != Some("0"))
    })
}

/// Reads `show servers conn`: backend, place, connections in use.
fn connections(text: &str) -> Option<Vec<(String, usize, u64)>> {
    let mut lines = text.lines();
    let header = lines.next()?.strip_prefix('#')?;
    let column = header
        .split_ascii_whitespace()
        .position(|name| name == "used_cur")?;
    let mut all = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let field: Vec<&str> = line.split_ascii_whitespace().collect();
        let (backend, server) = field.first()?.split_once('/')?;
        if let Some(index) = place(backend, server) {
            all.push((backend.to_owned(), index, field.get(column)?.parse().ok()?));
        }
    }
    Some(all)
}

/// Connections in use by address, from an old worker's `show servers conn`.
#[must_use]
pub(crate) fn connections_by_address(text: &str) -> BTreeMap<SocketAddr, u64> {
    let mut all = BTreeMap::new();
    let mut lines = text.lines();
    let column = lines.next().and_then(|header| {
        header
            .split_ascii_whitespace()
            .skip(1)
            .position(|name| name == "used_cur")
    });
    for line in lines {
        let field: Vec<&str> = line.split_ascii_whitespace().collect();
        let parsed = (|| {
            let (backend, server) = field.first()?.split_once('/')?;
            place(backend, server)?;
            let address = SocketAddr::new(field.get(2)?.parse().ok()?, field.get(3)?.parse().ok()?);
            Some((address, field.get(column?)?.parse::<u64>().ok()?))
        })();
        if let Some((address, open)) = parsed.filter(|(_, open)| *open > 0) {
            *all.entry(address).or_default() += open;
        }
    }
    all
}

/// Reads `show map`: entries, and keys that stand there more than once (the first counts).
fn map_entries(text: &str) -> Option<(Entries, Vec<String>)> {
    let mut entries = Entries::new();
    let mut doubled = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut parts = line.splitn(3, ' ');
        if !parts.next()?.starts_with("0x") {
            return None;
        }
        let key = parts.next()?.to_owned();
        let value = parts.next().unwrap_or("").to_owned();
        match entries.entry(key) {
            Entry::Occupied(first) => doubled.push(first.key().clone()),
            Entry::Vacant(place) => {
                place.insert(value);
            }
        }
    }
    Some((entries, doubled))
}

/// Reads `show stat` (CSV): for servers that are down, HAProxy's words on why.
fn down(text: &str) -> Down {
    let mut lines = text.lines();
    let columns: Vec<&str> = lines
        .next()
        .unwrap_or("")
        .trim_start_matches("# ")
        .split(',')
        .collect();
    let column = |name: &str| columns.iter().position(|c| *c == name);
    let mut all = Down::new();
    for line in lines {
        let field = csv(line);
        let get = |name: &str| {
            column(name)
                .and_then(|index| field.get(index))
                .map_or("", String::as_str)
        };
        if !get("status").starts_with("DOWN") || place(get("pxname"), get("svname")).is_none() {
            continue;
        }
        let words = [get("check_desc"), get("last_chk")]
            .iter()
            .find(|w| !w.is_empty())
            .map_or("", |w| w);
        let text = format!("{}: {} {words}", get("addr"), get("check_status"));
        all.insert(
            format!("{}/{}", get("pxname"), get("svname")),
            text.trim().to_owned(),
        );
    }
    all
}

/// Splits a line of CSV, whose fields may stand in double quotes.
fn csv(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => {
                if let Some(last) = fields.last_mut() {
                    last.push(other);
                }
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATE: &str = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight …\n\
        3 r0123456789_a 1 t1 127.0.0.1 2 0 1 1 2 6 3 2 6 0 0 0 - 18901 - 0 0 - - 0\n\
        3 r0123456789_a 2 t2 127.0.0.1 0 5 1 1 2 1 0 0 14 0 0 0 - 1 - 0 0 - - 0\n\
        3 r0123456789_a 3 t3 10.0.0.7 2 8 9 1 2 1 0 0 14 0 0 0 - 80 - 0 0 - - 0\n\
        4 other 1 s1 10.0.0.7 2 8 9 1 2 1 0 0 14 0 0 0 - 80 - 0 0 - - 0\n";

    #[test]
    fn servers_are_read_and_strangers_passed_over() {
        let backends = servers(STATE).unwrap();
        assert_eq!(backends.len(), 1);
        let all = &backends["r0123456789_a"];
        assert_eq!(all[0].address, Some("127.0.0.1:18901".parse().unwrap()));
        assert!(all[0].up && all[0].admin == Admin::Ready);
        assert_eq!((all[1].address, all[1].admin), (None, Admin::Maint));
        assert!(all[2].reweighted && all[2].admin == Admin::Drain);
        assert_eq!(servers("Permission denied"), None);
    }

    #[test]
    fn maps_are_read_with_what_stands_twice() {
        let (entries, doubled) = map_entries("0x1 a/ g1\n0x2 b/ g2\n0x3 a/ g3\n").unwrap();
        assert_eq!(entries["a/"], "g1");
        assert_eq!(doubled, ["a/"]);
        assert_eq!(map_entries("Unknown command"), None);
    }

    #[test]
    fn connections_in_use_are_read_by_server_and_by_address() {
        let text = "# bkname/svname bkid/svid addr port - purge_delay used_cur used_max\n\
            r0123456789_a/t1 3/1 127.0.0.1 18901 - 5000 4 9\nx/s 4/1 127.0.0.1 1 - 5000 1 1\n";
        assert_eq!(
            connections(text).unwrap(),
            [("r0123456789_a".to_owned(), 0, 4)]
        );
        assert_eq!(
            connections_by_address(text)[&"127.0.0.1:18901".parse().unwrap()],
            4
        );
    }

    #[test]
    fn the_structure_is_read_from_the_variable() {
        assert_eq!(
            structure("proc.structure: type=str value=<abc>").as_deref(),
            Some("abc")
        );
        assert_eq!(structure("Variable not found"), None);
    }
}
