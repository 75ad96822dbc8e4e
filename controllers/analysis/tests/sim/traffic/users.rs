//! Clients that are kept on a side, and are not alike.

use super::super::random::Random;
use super::{BASE, Kind, Load, Second, answers, counted};

/// Users come, ask a request a second, so many in all, and go. Each has an error rate of its own, from a Beta distribution of
/// this mean and concentration 1.
pub(crate) fn own_rates(load: Load, requests: u64, mean: f64) -> Kind {
    let mut users: Vec<User> = Vec::new();
    Box::new(move |random, _| {
        // Half of the chance in each of twice as many tries: near enough to Poisson.
        let new = random.binomial(2 * load.rps, 0.5 / requests as f64);
        for _ in 0..new {
            let side =
                (random.unit() >= load.share).then(|| (random.unit() * load.tasks as f64) as usize);
            users.push(User {
                side,
                left: requests,
                rate: random.beta(mean, 1.0 - mean),
            });
        }
        let mut canary = counted(0, 0);
        let mut stable = vec![counted(0, 0); load.tasks as usize];
        for user in &mut users {
            let did = counted(1, random.binomial(1, user.rate));
            user.left -= 1;
            match user.side {
                Some(task) => stable[task].merge(&did),
                None => canary.merge(&did),
            }
        }
        users.retain(|user| user.left > 0);
        Second { canary, stable }
    })
}

struct User {
    /// A task of stable, or the canary.
    side: Option<usize>,
    left: u64,
    rate: f64,
}

/// Now and then a scanner asks for what is not there, so many times a second for so many seconds; it sticks to a side. Two in
/// a hundred requests of others are refused as well.
pub(crate) fn scanners(load: Load, (rps, seconds): (u64, u64), every: u64) -> Kind {
    let mut scanner: Option<(u64, bool)> = None;
    Box::new(move |random, _| {
        scanner = match scanner {
            Some((left, side)) if left > 1 => Some((left - 1, side)),
            _ if random.unit() < 1.0 / every as f64 => Some((seconds, random.unit() < load.share)),
            _ => None,
        };
        let scans = |canary: bool| match scanner {
            Some((_, side)) if side == canary => rps,
            _ => 0,
        };
        let (canary, mut stable) = load.split(random);
        if let Some(first) = stable.first_mut() {
            *first += scans(false);
        }
        let mut second = Second {
            canary: refused(random, canary + scans(true), scans(true)),
            stable: Vec::new(),
        };
        for (task, n) in stable.into_iter().enumerate() {
            let scans = if task == 0 { scans(false) } else { 0 };
            second.stable.push(refused(random, n, scans));
        }
        second
    })
}

fn refused(random: &mut Random, requests: u64, surely: u64) -> fm_analysis::evidence::Tally {
    let mut did = answers(random, requests, BASE);
    let good = requests - did.counted.bad;
    let surely = surely.min(good);
    did.client_errors = Some(surely + random.binomial(good - surely, 0.02));
    did
}
