//! The unix socket and the data folder: whose they are, and that they are never taken from somebody else.

#[cfg(test)]
mod support;

use std::os::unix::fs::PermissionsExt;

use support::Server;

#[tokio::test]
async fn only_owner_and_group_can_open_the_socket() {
    let server = Server::start().await;
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.socket), 0o660);
    assert_eq!(mode(server.socket.parent().unwrap()), 0o750);
}

#[tokio::test]
async fn a_socket_is_never_taken_from_somebody_who_answers() {
    use frd_daemon::api::listen::Socket;
    let server = Server::start().await;
    let error = Socket::bind(&server.socket, None)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("another frd"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.sock");
    let listener = tokio::net::UnixListener::bind(&foreign).unwrap();
    let error = Socket::bind(&foreign, None).await.unwrap_err().to_string();
    assert!(error.contains("another process answers"), "{error}");
    // Its owner dies and leaves it behind.
    drop(listener);
    Socket::bind(&foreign, None).await.unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(Socket::bind(&file, None).await.is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[tokio::test]
async fn a_second_daemon_on_the_same_data_is_refused() {
    let server = Server::start().await;
    let error = fm_store::embedded::open(&server.folder.path().join("data"))
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("in use by another process"), "{error}");
}

#[tokio::test]
async fn the_lock_file_is_never_a_link_to_another_file() {
    use frd_daemon::api::listen::Socket;
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    std::fs::write(&precious, "mine").unwrap();
    std::os::unix::fs::symlink(&precious, folder.path().join("frd.sock.lock")).unwrap();
    let socket = folder.path().join("frd.sock");
    let error = Socket::bind(&socket, None).await.unwrap_err();
    assert!(format!("{error:#}").contains("cannot open"), "{error:#}");
    assert!(!socket.exists());
}
