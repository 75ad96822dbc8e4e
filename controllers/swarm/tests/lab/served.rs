//! The program inside the test's images: serves, says something, hangs, or ends with a code.

use std::io::{Read, Write};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("say") => return println!("begins\n{}", arguments[2]),
        Some("hang") => {
            println!("hangs");
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        _ => {}
    }
    if let Some(code) = arguments.get(2) {
        eprintln!("ends with {code}");
        std::process::exit(code.parse().unwrap_or(99));
    }
    let listener = std::net::TcpListener::bind("0.0.0.0:8080").expect("port 8080 is free in a container");
    for mut stream in listener.incoming().flatten() {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
}
