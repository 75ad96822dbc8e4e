use fm_api::event::{Event, Severity};

use super::*;
use crate::Recorder;

async fn events(world: &World, count: usize) -> Vec<Event> {
    let prefix = fm_api::keys::prefix("events");
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let found = world.store.store.list(&prefix).await.unwrap().entries;
        if found.len() >= count {
            return found
                .iter()
                .map(|entry| crate::decode(entry).unwrap())
                .collect();
        }
        assert!(
            std::time::Instant::now() < limit,
            "{} of {count}",
            found.len()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn events_come_in_their_order_and_what_repeats_is_one_with_a_count() {
    let world = World::new();
    let recorder = Recorder::new(&world.process("p"), "promotion");
    for number in 0..50 {
        for _ in 0..3 {
            recorder
                .record(
                    Some(&key("a")),
                    Severity::Normal,
                    "StepReached",
                    number.to_string(),
                )
                .await;
        }
    }
    recorder
        .record(None, Severity::Warning, "End", String::new())
        .await;
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    let found = loop {
        let found = events(&world, 51).await;
        // A count is written a moment later.
        if found[..50].iter().all(|event| event.count == 3) {
            break found;
        }
        assert!(std::time::Instant::now() < limit, "{found:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let said: Vec<String> = found.iter().map(|event| event.message.clone()).collect();
    let wanted: Vec<String> = (0..50)
        .map(|number| number.to_string())
        .chain([String::new()])
        .collect();
    assert_eq!(said, wanted);
    assert_eq!(
        (found[0].name.as_str(), found[0].source.as_str()),
        ("a", "promotion")
    );
    assert!(found[0].seen() >= found[0].at);
    assert_eq!((found[50].namespace.as_str(), found[50].count), ("", 1));
}

#[tokio::test]
async fn a_count_that_waits_is_written_at_the_end_and_no_message_is_endless() {
    let world = World::new();
    let process = world.process("p");
    let recorder = Recorder::new(&process, "swarm");
    let told = || "é".repeat(5000);
    recorder
        .record(None, Severity::Warning, "Told", told())
        .await;
    events(&world, 1).await;
    for _ in 0..7 {
        recorder
            .record(None, Severity::Warning, "Told", told())
            .await;
    }
    process.shutdown.cancel();
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    while events(&world, 1).await[0].count != 8 {
        assert!(std::time::Instant::now() < limit);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let found = events(&world, 1).await;
    assert_eq!(found.len(), 1);
    assert!(found[0].message.len() <= 2048 + 3 && found[0].message.ends_with("é…"));
}

#[tokio::test]
async fn who_leads_keeps_the_events_within_their_bounds() {
    let world = World::new();
    let process = world.process("p");
    let bounds = crate::Bounds {
        all: 12,
        of_release: 5,
    };
    let sweeping = process.clone();
    tokio::spawn(async move { crate::keep_bounds(&sweeping, "api", bounds).await });
    let recorder = Recorder::new(&process, "swarm");
    for release in ["a", "b", "c", "d"] {
        for number in 0..10 {
            let severity = match number % 2 {
                0 => Severity::Normal,
                _ => Severity::Warning,
            };
            recorder
                .record(Some(&key(release)), severity, "Told", number.to_string())
                .await;
        }
    }
    assert_eq!(events(&world, 40).await.len(), 40, "nobody leads yet");
    process.fitness.set_leads("api", true);
    let limit = std::time::Instant::now() + Duration::from_secs(20);
    let found = loop {
        let found = events(&world, 0).await;
        if found.len() <= 12 {
            break found;
        }
        assert!(std::time::Instant::now() < limit, "{}", found.len());
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(found.len(), 12);
    let of_a = found.iter().filter(|event| event.name == "d");
    let said: Vec<&str> = of_a.map(|event| event.message.as_str()).collect();
    assert!(said.contains(&"9") && said.contains(&"8"), "{said:?}");
    assert!(!said.contains(&"0"), "{said:?}");
}

#[tokio::test]
async fn nobody_waits_for_a_store_that_is_away() {
    let world = World::new();
    world.store.set_away(true);
    let recorder = Recorder::new(&world.process("p"), "api");
    let told = recorder.record(None, Severity::Normal, "Told", "once".to_owned());
    tokio::time::timeout(Duration::from_secs(1), told)
        .await
        .unwrap();
    world.store.set_away(false);
    assert_eq!(events(&world, 1).await[0].message, "once");
}
