//! Requests.

use bivium_interface::{ErrorCode, HostPolicy};
use bivium_records::{Decision, Secrets};
use serde_json::json;

use crate::common::says;
use crate::server::{HOST, Server};
use crate::{ENGINE, NETWORK, Probe, name};

#[tokio::test]
async fn a_request_goes_where_a_rule_allows() {
    let server = Server::start().await;
    let here = format!("http://{HOST}:{}", server.port);
    let probe = Probe::new(json!({"permissions": {"network": [here]}})).await;
    let asked = json!({"to": server.url("/a?b=c"), "headers": {"x-own": "1"}, "method": "POST", "body": "12345"});
    let answer = probe.run("request", asked).await.unwrap();
    assert_eq!(answer["status"], 200);
    let head = answer["body"].as_str().unwrap().to_lowercase();
    assert!(head.starts_with("post /a?b=c http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("host: {HOST}:{}\r\n", server.port)) && head.contains("x-own: 1\r\n"), "{head}");
    probe.was(Decision::Granted, NETWORK, &here);
    server.sees(|seen| seen.closed == 1).await;
}

#[tokio::test]
async fn hostile_a_request_without_permission_is_denied_by_name() {
    let server = Server::start().await;
    let probe = Probe::new(json!({})).await;
    let error = probe.fails("request", json!({"to": server.url("/")}), ErrorCode::Denied).await;
    says(&error, &[&server.url(""), NETWORK, "its manifest does not list this address", "HttpRequestDenied"]);
    probe.was(Decision::Denied, NETWORK, &server.url(""));
    assert_eq!(probe.last(NETWORK).call, error.call());
    assert!(probe.log.tail(1)[0].message.contains(NETWORK));
    let withheld = json!({"permissions": {"network": [server.url("")]}});
    let probe = Probe::load(&ENGINE, withheld, &HostPolicy::deny_all(), Secrets::default()).await.unwrap();
    let error = probe.fails("request", json!({"to": server.url("/")}), ErrorCode::Denied).await;
    says(&error, &["the host's policy does not grant it"]);
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn hostile_what_no_rule_names_is_denied_without_a_lookup() {
    let server = Server::start().await;
    let port = server.port;
    let rules = json!(["https://api.named.test", "http://*.named.test", format!("http://{HOST}:1")]);
    let probe = Probe::new(json!({"permissions": {"network": rules}})).await;
    for to in [
        "http://api.named.test:8080/",
        "https://api.named.test:444/",
        "https://www.named.test/",
        "https://named.test/",
        "http://named.test/",
        "http://api.named.test.evil.test/",
        "http://evilnamed.test/",
        "https://93.184.216.34/",
        "https://[2606:4700::1111]/",
        &format!("http://{HOST}:{port}/"),
        &format!("http://[::ffff:127.0.0.1]:{port}/"),
        &format!("http://localhost:{port}/"),
        &format!("http://2130706433:{port}/"),
        &format!("http://0x7f.1:{port}/"),
        &format!("http://127.1:{port}/"),
    ] {
        let error = probe.fails("request", json!({"to": to}), ErrorCode::Denied).await;
        says(&error, &["its manifest does not list this address"]);
    }
    for (to, says) in [
        ("https://api.named.test@evil.test/", "UriInvalid"),
        ("https://api.named.test:0/", "UriInvalid"),
        ("ftp://api.named.test/", "ProtocolError"),
    ] {
        let error = probe.fails("request", json!({"to": to}), ErrorCode::PluginFailed).await;
        assert!(error.message().contains(says), "{error}");
    }
    for method in ["CONNECT", "TRACE", "trace", "TRACK"] {
        let asked = json!({"to": "https://api.named.test/", "method": method});
        let error = probe.fails("request", asked, ErrorCode::PluginFailed).await;
        assert!(error.message().contains("MethodInvalid"), "{error}");
    }
    for header in ["Host", "Connection", "Proxy-Authorization", "Transfer-Encoding"] {
        let asked = json!({"to": "https://api.named.test/", "headers": {header: "x"}});
        let error = probe.fails("request", asked, ErrorCode::PluginFailed).await;
        assert!(error.message().contains("Forbidden"), "{error}");
    }
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn hostile_an_allowed_name_that_leads_to_a_private_address_is_denied() {
    let server = Server::start().await;
    let port = server.port;
    let rules = json!([format!("http://inner.test:{port}"), format!("http://*:{port}"), "http://169.254.169.254"]);
    let probe = Probe::new(json!({"permissions": {"network": rules}})).await;
    for answer in [
        &["127.0.0.1"][..],
        &["10.0.0.1"],
        &["169.254.169.254"],
        &["::1"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::7f00:1"],
        &["0.0.0.0"],
        &["93.184.216.34", "127.0.0.1"],
        &["2606:4700::1111", "fd00::1", "93.184.216.34"],
    ] {
        name("inner.test", &[answer]);
        let asked = json!({"to": format!("http://inner.test:{port}/")});
        let error = probe.fails("request", asked, ErrorCode::Denied).await;
        says(&error, &["private", "permissions.private_network", "IpProhibited"]);
        probe.was(Decision::Denied, NETWORK, &format!("http://inner.test:{port}"));
    }
    // `*` means public addresses only; written as an address it is the same.
    for address in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1"] {
        let asked = json!({"to": format!("http://{address}:{port}/")});
        says(&probe.fails("request", asked, ErrorCode::Denied).await, &["private"]);
    }
    assert_eq!(server.seen().connections, 0);
}

#[tokio::test]
async fn private_addresses_are_reached_by_their_own_rule_or_by_permission() {
    let server = Server::start().await;
    let port = server.port;
    name("localhost", &[&["127.0.0.1"]]);
    name("inside.test", &[&["127.0.0.1"]]);
    let local = json!({"permissions": {"network": [format!("http://localhost:{port}")]}});
    let probe = Probe::new(local).await;
    let asked = json!({"to": format!("http://localhost:{port}/")});
    assert_eq!(probe.run("request", asked).await.unwrap()["status"], 200);
    let inside = json!({"permissions": {"network": [format!("http://inside.test:{port}")], "private_network": true}});
    let probe = Probe::new(inside).await;
    let asked = json!({"to": format!("http://INSIDE.test.:{port}/")});
    assert_eq!(probe.run("request", asked).await.unwrap()["status"], 200);
    probe.was(Decision::Granted, NETWORK, &format!("http://inside.test:{port}"));
}

#[tokio::test]
async fn hostile_a_second_answer_of_the_name_server_changes_nothing() {
    let server = Server::start().await;
    let port = server.port;
    // What is checked is connected to; a second lookup would go nowhere.
    name("turning.test", &[&["127.0.0.1"], &["10.0.0.1"]]);
    let rules = json!([format!("http://turning.test:{port}")]);
    let probe = Probe::new(json!({"permissions": {"network": rules, "private_network": true}})).await;
    let asked = json!({"to": format!("http://turning.test:{port}/")});
    assert_eq!(probe.run("request", asked).await.unwrap()["status"], 200);
}

#[tokio::test]
async fn hostile_a_redirect_is_the_guests_to_follow_and_denied_as_any_request() {
    let server = Server::start().await;
    let probe = Probe::new(json!({"permissions": {"network": [server.url("")]}})).await;
    let answer = probe.run("request", json!({"to": server.url("/elsewhere")})).await.unwrap();
    assert_eq!((&answer["status"], &answer["headers"]["location"]), (&json!(302), &json!("http://10.0.0.1/")));
    probe
        .fails(
            "request",
            answer["headers"]["location"].as_str().map(|to| json!({"to": to})).unwrap(),
            ErrorCode::Denied,
        )
        .await;
}

#[tokio::test]
async fn a_name_without_an_answer_fails_and_the_log_says_why() {
    let probe = Probe::new(json!({"permissions": {"network": ["http://nowhere.test"]}})).await;
    let error = probe.fails("request", json!({"to": "http://nowhere.test/"}), ErrorCode::PluginFailed).await;
    assert!(error.message().contains("DnsError"), "{error}");
    assert!(probe.log.tail(1)[0].message.starts_with("http://nowhere.test:80: "));
}
