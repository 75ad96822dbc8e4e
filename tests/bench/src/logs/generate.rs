//! A seeded log as a busy HAProxy writes it: routes and servers, skewed paths, log-normal times, errors of each kind.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::Result;

const ROUTES: u64 = 24;
const SERVERS: u64 = 6;
const WORDS: [&str; 16] = [
    "api", "v1", "v2", "cart", "checkout", "item", "users", "login", "search", "product",
    "catalog", "orders", "img", "assets", "session", "invoice",
];
const AGENTS: [&str; 4] = [
    "curl/7.88.1",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
    "okhttp/4.12.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0)",
];
const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "GET", "GET", "POST", "PUT"];
const STATUSES: [i32; 8] = [200, 200, 200, 200, 200, 204, 301, 304];

/// In which format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `option httplog` behind syslog's wrapper, as rsyslog writes it to a file.
    Classic,
    /// Our own.
    Json,
}

/// SplitMix64: the same numbers from the same seed, for ever.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Log-normal with this median, by the sum of twelve.
    fn time(&mut self, median: f64, spread: f64) -> u64 {
        let normal = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
        (median * (normal * spread).exp()) as u64
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len() as u64) as usize]
    }
}

/// What is drawn once and used again: the log is about lines, not about drawing.
struct Pool {
    paths: Vec<String>,
    clients: Vec<String>,
    times: Vec<[u64; 3]>,
}

impl Pool {
    fn draw(random: &mut Random) -> Self {
        let path = |random: &mut Random| {
            let mut path = String::new();
            for _ in 0..=random.below(4) {
                path.push('/');
                path.push_str(random.of(&WORDS));
            }
            if random.below(2) == 0 {
                path.push_str(&format!("/{}", random.below(1_000_000)));
            }
            if random.below(3) == 0 {
                path.push_str(&format!(
                    "?q={}&ref={:08x}",
                    random.of(&WORDS),
                    random.next() >> 32
                ));
            }
            path
        };
        let client = |random: &mut Random| {
            let part = |random: &mut Random| random.below(254) + 1;
            let (b, c, d) = (part(random), part(random), part(random));
            format!("10.{b}.{c}.{d}")
        };
        let times = |random: &mut Random| {
            let connect = if random.below(5) == 0 {
                random.time(1.2, 0.6)
            } else {
                0
            };
            [connect, random.time(18.0, 0.9), random.time(1.5, 1.0)]
        };
        Self {
            paths: (0..4000).map(|_| path(random)).collect(),
            clients: (0..32_768).map(|_| client(random)).collect(),
            times: (0..65_536).map(|_| times(random)).collect(),
        }
    }
}

/// One request.
struct Drawn {
    route: u64,
    canary: bool,
    server: u64,
    status: i32,
    termination: &'static str,
    /// Connect, first byte, whole; negative where it never came to that.
    times: [i64; 3],
}

fn draw(random: &mut Random, pool: &Pool) -> Drawn {
    let [connect, answer, rest] = pool.times[random.below(65_536) as usize];
    let (connect, answer, rest) = (connect as i64, answer as i64, rest as i64);
    let canary = random.below(20) == 0;
    let kind = random.share();
    let failing = if canary { 0.03 } else { 0.006 };
    let good = connect + answer + rest;
    let (status, termination, times) = match kind {
        _ if kind < failing * 0.6 => (500, "----", [connect, answer * 3, good * 3]),
        _ if kind < failing * 0.8 => (503, "sC--", [-1, -1, 3001 + answer]),
        _ if kind < failing => (504, "sH--", [connect, -1, 30_000 + answer]),
        _ if kind > 0.99 => (-1, "CH--", [connect, -1, answer]),
        _ if kind > 0.97 => (404, "----", [connect, answer, good]),
        _ => (
            STATUSES[random.below(8) as usize],
            "----",
            [connect, answer, good],
        ),
    };
    Drawn {
        route: random.below(ROUTES),
        canary,
        server: random.below(SERVERS) + 1,
        status,
        termination,
        times,
    }
}

/// Writes some `bytes` of log; gives how many lines they are.
pub(crate) fn write(path: &Path, format: Format, bytes: u64, seed: u64) -> Result<u64> {
    let mut random = Random(seed);
    let pool = Pool::draw(&mut random);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let (mut line, mut lines, mut written) = (Vec::with_capacity(1024), 0, 0);
    while written < bytes {
        let drawn = draw(&mut random, &pool);
        line.clear();
        match format {
            Format::Classic => classic(&mut line, &drawn, &mut random, &pool, lines)?,
            Format::Json => json(&mut line, &drawn, lines)?,
        }
        out.write_all(&line)?;
        lines += 1;
        written += line.len() as u64;
    }
    out.flush()?;
    Ok(lines)
}

/// Some 20,000 requests a second.
fn classic(
    out: &mut Vec<u8>,
    drawn: &Drawn,
    random: &mut Random,
    pool: &Pool,
    at: u64,
) -> Result<()> {
    let (second, ms) = (at / 20_000, at / 20 % 1000);
    let (hour, minute, second) = (second / 3600 % 24, second / 60 % 60, second % 60);
    let Drawn {
        route,
        server,
        status,
        termination,
        ..
    } = drawn;
    let side = if drawn.canary { 'b' } else { 'a' };
    let [connect, answer, whole] = drawn.times;
    let client = &pool.clients[random.below(32_768) as usize];
    // Squared, so that a few paths have most of the requests.
    let place = random.share() * random.share() * pool.paths.len() as f64;
    let path = &pool.paths[place as usize];
    let (port, bytes) = (1024 + random.below(64_000), 180 + random.below(6000));
    let (agent, method) = (random.of(&AGENTS), random.of(&METHODS));
    write!(
        out,
        "Nov 22 {hour:02}:{minute:02}:{second:02} edge-1 haproxy[2400]: {client}:{port} \
         [22/Nov/2026:{hour:02}:{minute:02}:{second:02}.{ms:03}] fe_http rel{route}_{side}/task{server} \
         0/0/{connect}/{answer}/{whole} {status} {bytes} - - {termination} 220/210/20/3/0 0/0 \
         {{shop{route}.example.com|{agent}}} {{}} \"{method} {path} HTTP/1.1\""
    )?;
    out.push(b'\n');
    Ok(())
}

fn json(out: &mut Vec<u8>, drawn: &Drawn, at: u64) -> Result<()> {
    let Drawn {
        route,
        server,
        status,
        ..
    } = drawn;
    let side = if drawn.canary { 'c' } else { 's' };
    let [_, answer, whole] = drawn.times;
    let termination = &drawn.termination[..2];
    let port = 30_000 + server;
    write!(
        out,
        "{{\"rc\":\"r|0badcafe|500|r{route:010x}_a|r{route:010x}_b|default/shop{route}|fbbdc4e61f|e3442ac697|7\",\"sd\":\"{side}\",\
         \"st\":{status},\"ts\":\"{termination}\",\"tr\":{answer},\"ta\":{whole},\"a\":\"10.0.0.{server}:{port}\",\"gs\":-1,\"p\":4711,\"n\":{at}}}"
    )?;
    out.push(b'\n');
    Ok(())
}
