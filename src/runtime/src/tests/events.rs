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
async fn events_come_in_their_order_and_repetitions_are_dropped() {
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
    let found = events(&world, 51).await;
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
    assert_eq!(found[50].namespace, "");
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
