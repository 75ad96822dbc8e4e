use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

fn agent(instance: &str, telemetry: String) -> Agent {
    Agent {
        instance: instance.to_owned(),
        telemetry,
        haproxy: String::new(),
        problem: None,
        troubles: Vec::new(),
        version: String::new(),
        since: Timestamp::UNIX_EPOCH,
    }
}

/// Answers every connection with these bytes.
fn answering(folder: &Path, text: &'static str) -> String {
    let path = folder.join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(text.as_bytes()).await;
        }
    });
    format!("unix:{}", path.display())
}

#[tokio::test]
async fn an_agents_counters_are_read_over_its_socket() {
    let folder = tempfile::tempdir().unwrap();
    let body = r#"{"instance":"edge-1","epoch":"7-1","at":null,"releases":{},"log":{"lines":3,"lost":0,"malformed":0,"connections":1}}"#;
    let text: &'static str = Box::leak(
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_boxed_str(),
    );
    let address = answering(folder.path(), text);
    let snapshot = ask(agent("edge-1", address.clone()), None).await.unwrap();
    assert_eq!((snapshot.epoch.as_str(), snapshot.log.lines), ("7-1", 3));
    let error = ask(agent("edge-2", address), None).await.unwrap_err();
    assert!(error.message.contains("edge-1 answers"), "{error}");
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_ends_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("silent.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let error = ask(agent("a", format!("unix:{}", path.display())), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("no answer"), "{error}");
    let error = ask(agent("a", "unix:/nowhere.sock".to_owned()), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("/nowhere.sock"), "{error}");
    let error = ask(agent("a", "ftp://x:1".to_owned()), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("cannot reach"), "{error}");
    let error = ask(agent("a", "https://x:1".to_owned()), None)
        .await
        .unwrap_err();
    assert!(error.message.contains("telemetry.tls"), "{error}");
    let address = answering(
        folder.path(),
        "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
    );
    let error = ask(agent("a", address), None).await.unwrap_err();
    assert!(error.message.contains("404"), "{error}");
}
