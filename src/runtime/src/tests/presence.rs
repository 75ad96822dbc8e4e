use super::*;
use crate::announce;

const TTL: Duration = Duration::from_millis(600);
const KEY: &str = "/fridaymorning/agents/a";

async fn stored(world: &World) -> Option<String> {
    let entry = world.store.store.get(KEY).await.unwrap()?;
    Some(String::from_utf8(entry.value).unwrap())
}

async fn says(world: &World, wanted: Option<&str>) {
    for _ in 0..200 {
        if stored(world).await.as_deref() == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{:?} instead of {wanted:?}", stored(world).await);
}

#[tokio::test]
async fn the_key_follows_the_value_lives_on_and_goes_at_the_end() {
    let world = World::new();
    let process = world.process("a");
    let (say, value) = watch::channel(1);
    let ctx = process.clone();
    let task = tokio::spawn(async move { announce(&ctx, KEY.to_owned(), TTL, value).await });
    says(&world, Some("1")).await;
    say.send_replace(2);
    says(&world, Some("2")).await;
    tokio::time::sleep(TTL * 2).await;
    assert_eq!(stored(&world).await.as_deref(), Some("2"));
    process.shutdown.cancel();
    task.await.unwrap();
    assert_eq!(stored(&world).await, None);
}

#[tokio::test]
async fn a_key_that_the_store_refused_once_is_said_again() {
    let world = World::new();
    world.store.refuses.store(true, Ordering::SeqCst);
    let process = world.process("a");
    let (_say, value) = watch::channel(1);
    let ctx = process.clone();
    let task = tokio::spawn(async move { announce(&ctx, KEY.to_owned(), TTL, value).await });
    tokio::time::sleep(TTL / 3).await;
    assert_eq!(stored(&world).await, None);
    world.store.refuses.store(false, Ordering::SeqCst);
    says(&world, Some("1")).await;
    process.shutdown.cancel();
    task.await.unwrap();
}
