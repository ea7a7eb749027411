//! Sockets and lookups.

use bivium_interface::ErrorCode;
use bivium_records::Decision;
use serde_json::json;

use crate::common::says;
use crate::server::{HOST, Server, echo_tcp, echo_udp};
use crate::{NETWORK, Probe, name};

#[tokio::test]
async fn sockets_reach_what_their_rules_name() {
    let ((tcp, _tcp), (udp, _udp)) = (echo_tcp().await, echo_udp().await);
    let rules = json!([format!("tcp://{HOST}:{tcp}"), format!("udp://{HOST}:{udp}")]);
    let probe = Probe::new(json!({"permissions": {"network": rules}})).await;
    let asked = json!({"address": HOST, "port": tcp, "text": "hello"});
    assert_eq!(probe.run("tcp", asked).await.unwrap(), "HELLO");
    probe.was(Decision::Granted, NETWORK, &format!("tcp://{HOST}:{tcp}"));
    let asked = json!({"address": HOST, "port": udp, "text": "hello"});
    assert_eq!(probe.run("udp", asked).await.unwrap(), "HELLO");
    probe.was(Decision::Granted, NETWORK, &format!("udp://{HOST}:{udp}"));
}

#[tokio::test]
async fn hostile_sockets_reach_nothing_else() {
    let server = Server::start().await;
    let port = server.port;
    let rules = json!([format!("tcp://{HOST}:1"), "tcp://*:443", format!("tcp://*:{port}"), format!("udp://*:{port}")]);
    let probe = Probe::new(json!({"permissions": {"network": rules}})).await;
    for (method, address, port, says_why) in [
        ("tcp", "127.0.0.1", port + 1, "its manifest does not list this address"),
        ("tcp", "127.0.0.2", 1, "its manifest does not list this address"),
        ("tcp", "93.184.216.34", 80, "its manifest does not list this address"),
        ("tcp", "127.0.0.1", port, "private"),
        ("tcp", "10.0.0.1", 443, "private"),
        ("tcp", "169.254.169.254", 443, "private"),
        ("tcp", "::1", port, "private"),
        ("tcp", "fd00::1", 443, "private"),
        ("udp", "127.0.0.1", port, "private"),
        ("udp", "93.184.216.34", 53, "its manifest does not list this address"),
    ] {
        let asked = json!({"address": address, "port": port, "text": "x"});
        let error = probe.fails(method, asked, ErrorCode::Denied).await;
        says(&error, &["access-denied", NETWORK, says_why]);
        assert_eq!(probe.last(NETWORK).decision, Decision::Denied);
    }
    for (method, address, why) in [
        ("tcp-bind", "127.0.0.1", "its local address"),
        ("tcp-bind", "0.0.0.0", "its local address"),
        ("tcp-listen", "127.0.0.1", "its local address"),
    ] {
        let error = probe.fails(method, json!({"address": address, "port": port + 1}), ErrorCode::Denied).await;
        says(&error, &["access-denied", why]);
    }
    let anywhere = json!({"address": "0.0.0.0", "port": 0});
    says(&probe.fails("tcp-listen", anywhere, ErrorCode::Denied).await, &["cannot listen"]);
    assert_eq!(server.seen().connections, 0);
    let probe = Probe::new(json!({})).await;
    for (method, resource) in [("tcp", "tcp://*"), ("udp", "udp://*")] {
        let error = probe.fails(method, json!({"address": HOST, "port": port}), ErrorCode::Denied).await;
        says(&error, &["access-denied", resource]);
    }
}

#[tokio::test]
async fn a_name_that_a_rule_means_is_looked_up_and_its_addresses_are_reached_on_the_rules_ports() {
    let (port, _task) = echo_tcp().await;
    name("db.lookup.test", &[&["127.0.0.1", "127.0.0.1"]]);
    let rules = json!([format!("tcp://db.lookup.test:{port}")]);
    let probe = Probe::new(json!({"permissions": {"network": rules, "private_network": true}})).await;
    let asked = json!({"address": HOST, "port": port, "text": "hello"});
    says(&probe.fails("tcp", asked.clone(), ErrorCode::Denied).await, &["its manifest does not list this address"]);
    let found = probe.run("lookup", json!({"name": "DB.lookup.test."})).await.unwrap();
    assert_eq!(found, json!(["127.0.0.1", "127.0.0.1"]));
    probe.was(Decision::Granted, NETWORK, "dns://db.lookup.test");
    assert_eq!(probe.run("tcp", asked).await.unwrap(), "HELLO");
    probe.was(Decision::Granted, NETWORK, &format!("tcp://db.lookup.test:{port}"));
    let other = json!({"address": HOST, "port": port + 1, "text": "hello"});
    probe.fails("tcp", other, ErrorCode::Denied).await;
    assert_eq!(probe.run("lookup", json!({"name": "::1"})).await.unwrap(), json!(["::1"]), "an address is its own");
}

#[tokio::test]
async fn hostile_names_that_no_rule_means_are_not_looked_up_and_private_answers_are_denied() {
    let rules = json!(["tcp://*.lookup.test:443", "https://web.test"]);
    let probe = Probe::new(json!({"permissions": {"network": rules}})).await;
    name("web.test", &[&["93.184.216.34"]]);
    for asked in ["web.test", "lookup.test", "leak.of.data.evil.test", "localhost"] {
        let error = probe.fails("lookup", json!({"name": asked}), ErrorCode::Denied).await;
        says(&error, &["access-denied", &format!("dns://{asked}"), NETWORK]);
    }
    for answer in [&["127.0.0.1"][..], &["10.0.0.1"], &["::ffff:10.0.0.1"], &["93.184.216.34", "169.254.169.254"]] {
        name("rebind.lookup.test", &[answer]);
        let error = probe.fails("lookup", json!({"name": "rebind.lookup.test"}), ErrorCode::Denied).await;
        says(&error, &["private", "access-denied"]);
    }
    let error = probe.fails("lookup", json!({"name": "a b"}), ErrorCode::PluginFailed).await;
    assert!(error.message().contains("invalid-argument"), "{error}");
}
