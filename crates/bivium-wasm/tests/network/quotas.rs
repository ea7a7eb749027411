//! Limits of connections, sizes and time.

use std::time::Duration;

use bivium_interface::{ErrorCode, PluginInterface as _};
use serde_json::{Value, json};

use crate::common::says;
use crate::server::{HOST, Server};
use crate::{Probe, call};

async fn probe(server: &Server, limits: Value) -> Probe {
    let rules = json!([server.url(""), format!("tcp://{HOST}:{}", server.port)]);
    Probe::new(json!({"permissions": {"network": rules}, "limits": limits})).await
}

#[tokio::test]
async fn hostile_connections_over_their_limit_are_refused() {
    let server = Server::start().await;
    let probe = probe(&server, json!({"connections": 3})).await;
    let silent = server.url("/silent");
    assert_eq!(probe.run("request-keep", json!({"to": silent, "times": 2})).await.unwrap(), 2);
    assert_eq!(probe.run("tcp-keep", json!({"times": 1})).await.unwrap(), 1);
    let error = probe.fails("request-keep", json!({"to": silent, "times": 1}), ErrorCode::ResourceExhausted).await;
    says(&error, &["limits.connections", "3 connections", "ConnectionLimitReached"]);
    let error = probe.fails("tcp-keep", json!({"times": 1}), ErrorCode::ResourceExhausted).await;
    says(&error, &["limits.connections", "new-socket-limit"]);
    server.sees(|seen| seen.connections == 2).await;
    // A dropped connection is closed and its place is free at once.
    probe.run("tcp-drop", json!({})).await.unwrap();
    probe.run("request-drop", json!({})).await.unwrap();
    assert_eq!(
        probe.run("request-keep", json!({"to": server.url("/half"), "head": true, "times": 3})).await.unwrap(),
        3
    );
    server.sees(|seen| seen.closed == 2).await;
    says(&probe.fails("tcp-keep", json!({"times": 1}), ErrorCode::ResourceExhausted).await, &["limits.connections"]);
    // Nothing outlives the instance.
    probe.plugin.cleanup().await.unwrap();
    server.sees(|seen| seen.closed == 5).await;
}

#[tokio::test]
async fn hostile_a_response_over_its_limit_is_cut() {
    let server = Server::start().await;
    let probe = probe(&server, json!({"response_mb": 1})).await;
    for (path, connection) in [("/large", 1), ("/endless", 2)] {
        let error = probe.fails("request", json!({"to": server.url(path)}), ErrorCode::ResourceExhausted).await;
        says(&error, &["limits.response_mb", "1 MiB"]);
        server.sees(|seen| seen.closed == connection).await;
    }
}

#[tokio::test]
async fn hostile_the_head_of_a_response_without_end_is_cut() {
    let server = Server::start().await;
    let probe = probe(&server, json!({})).await;
    let error = probe.fails("request", json!({"to": server.url("/headers")}), ErrorCode::PluginFailed).await;
    assert!(error.message().contains("HttpResponseHeaderSectionSize"), "{error}");
    server.sees(|seen| seen.closed == 1).await;
}

#[tokio::test]
async fn hostile_a_slow_server_holds_a_call_no_longer_than_its_deadline() {
    let server = Server::start().await;
    let probe = probe(&server, json!({})).await;
    for (path, connection) in [("/silent", 1), ("/half", 2)] {
        let slow = call("request", json!({"to": server.url(path)})).timeout(Duration::from_millis(300));
        let error = probe.call(slow).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Timeout, "{error}");
        // No task goes on for the guest.
        server.sees(|seen| seen.closed == connection).await;
    }
    let answer = probe.run("request", json!({"to": server.url("/")})).await.unwrap();
    assert_eq!(answer["status"], 200);
}

#[tokio::test]
async fn a_guest_may_wait_less() {
    let server = Server::start().await;
    let probe = probe(&server, json!({})).await;
    let asked = json!({"to": server.url("/silent"), "first-byte-ms": 20});
    let error = probe.fails("request", asked, ErrorCode::PluginFailed).await;
    assert!(error.message().contains("ConnectionReadTimeout"), "{error}");
    let asked = json!({"to": server.url("/half"), "between-bytes-ms": 20});
    let error = probe.fails("request", asked, ErrorCode::PluginFailed).await;
    assert!(error.message().contains("read timeout"), "{error}");
    server.sees(|seen| seen.closed == 2).await;
}
