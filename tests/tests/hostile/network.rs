//! A component that may reach one server tries to reach others. The test resolves names itself: no packet leaves this
//! machine. Every single request is tried in `crates/bivium-wasm/tests/network`.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use bivium::{Call, ErrorCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::scene::{Scene, guest};

const KEY: &str = "permissions.network";

/// A server that never answers: connections wait for ever.
struct Silent(TcpListener);

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn nobody_came(&self) -> bool {
        self.0.accept().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

async fn scene(rules: &[&str], limits: Value) -> Scene {
    Scene::of(&guest("probe"), json!({"permissions": {"network": rules}, "limits": limits})).await
}

fn request(to: &str) -> Call {
    Call::new().method("request").named("to", to)
}

fn tcp(address: SocketAddr) -> Call {
    Call::new().method("tcp").named("address", address.ip().to_string()).named("port", address.port())
}

#[tokio::test]
async fn hostile_a_host_that_no_rule_names_is_not_reached() {
    let server = Silent::new();
    let scene = scene(&["https://api.example.com"], json!({})).await;
    for to in [format!("http://{}/", server.address()), format!("https://localhost:{}/", server.address().port())] {
        scene.fails(request(&to), ErrorCode::Denied, &[KEY, "HttpRequestDenied"]).await;
    }
    scene.fails(request("https://api.example.com:8443/"), ErrorCode::Denied, &[KEY, "api.example.com:8443"]).await;
    assert!(server.nobody_came());
    scene.end().await;
}

#[tokio::test]
async fn hostile_a_raw_address_is_not_reached() {
    let server = Silent::new();
    let scene = scene(&["https://api.example.com", "tcp://api.example.com:*"], json!({})).await;
    scene.fails(tcp(server.address()), ErrorCode::Denied, &[KEY, &format!("tcp://{}", server.address())]).await;
    scene.fails(tcp("93.184.216.34:443".parse().unwrap()), ErrorCode::Denied, &[KEY, "93.184.216.34:443"]).await;
    scene.fails(request("https://93.184.216.34/"), ErrorCode::Denied, &[KEY, "93.184.216.34"]).await;
    assert!(server.nobody_came());
    scene.end().await;
}

#[tokio::test]
async fn hostile_an_allowed_name_does_not_lead_to_a_private_address() {
    let server = Silent::new();
    let port = server.address().port();
    let scene = scene(&[&format!("http://*.test:{port}"), &format!("tcp://*.test:{port}")], json!({})).await;
    for name in ["loopback.test", "metadata.test", "mapped.test", "mixed.test"] {
        scene.fails(request(&format!("http://{name}:{port}/")), ErrorCode::Denied, &[KEY, name, "private"]).await;
        let lookup = Call::new().method("lookup").named("name", name);
        scene.fails(lookup, ErrorCode::Denied, &[KEY, name, "private"]).await;
    }
    assert!(server.nobody_came());
    scene.end().await;
}

#[tokio::test]
async fn hostile_too_many_connections_are_refused() {
    let server = Silent::new();
    let rule = format!("http://{}", server.address());
    let scene = scene(&[&rule], json!({"connections": 2})).await;
    let keep = Call::new().method("request-keep").named("to", format!("{rule}/")).named("times", 1000);
    scene.fails(keep, ErrorCode::ResourceExhausted, &["limits.connections", "2 connections"]).await;
    scene.end().await;
}

#[tokio::test]
async fn hostile_a_response_without_end_is_cut() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let rule = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 4096]).await;
        }
    });
    let scene = scene(&[&rule], json!({"response_mb": 1})).await;
    scene.fails(request(&rule), ErrorCode::ResourceExhausted, &["limits.response_mb", "1 MiB"]).await;
    // The connection is closed.
    server.await.unwrap();
    scene.end().await;
}

#[tokio::test]
async fn hostile_a_server_that_never_answers_holds_nobody() {
    let server = Silent::new();
    let rule = format!("http://{}", server.address());
    let scene = scene(&[&rule], json!({})).await;
    scene.fails(request(&rule).timeout(Duration::from_millis(200)), ErrorCode::Timeout, &["deadline"]).await;
    scene.end().await;
}
