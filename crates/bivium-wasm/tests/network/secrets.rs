//! Secrets: the host sends them to their servers, and to nobody else.

use std::sync::Arc;

use bivium_interface::{ErrorCode, HostPolicy};
use bivium_records::{Decision, Secrets};
use bivium_wasm::{WasmConfig, WasmEngine};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::common::says;
use crate::server::{HOST, Server};
use crate::{ENGINE, NETWORK, Names, Probe, name};

const VALUE: &str = "s3cr3t-of-the-host";
const SECRETS: &str = "permissions.secrets";

async fn probe(engine: &WasmEngine, rules: Value, hosts: Value) -> Probe {
    let secret = json!({"name": "API_KEY", "header": "Authorization", "format": "Bearer {}", "hosts": hosts});
    let manifest = json!({"permissions": {"network": rules, "private_network": true, "secrets": [secret]}});
    let secrets = Secrets::default().with("API_KEY", VALUE).with("OTHER", "not granted");
    Probe::load(engine, manifest, &HostPolicy::default(), secrets).await.unwrap()
}

#[tokio::test]
async fn hostile_a_secret_goes_to_its_host_only_and_the_guest_sees_it_not() {
    let (its, other) = (Server::start().await, Server::start().await);
    name("localhost", &[&["127.0.0.1"]]);
    let rules = json!([its.url(""), format!("http://localhost:{}", other.port)]);
    let probe = probe(&ENGINE, rules, json!([HOST])).await;
    let to_its = json!({"to": its.url("/"), "headers": {"authorization": "Bearer guess"}});
    let own = probe.run("request-headers", to_its.clone()).await.unwrap();
    assert_eq!(own, json!({"authorization": "Bearer guess"}));
    // This server returns what it received; the guest learns the secret only because of that.
    let got = probe.run("request", to_its).await.unwrap()["body"].as_str().unwrap().to_owned();
    assert!(got.contains(&format!("Bearer {VALUE}\r\n")) && !got.contains("guess"), "{got}");
    probe.was(Decision::Granted, SECRETS, &format!("API_KEY for {}", its.url("")));
    let to_other = json!({"to": format!("http://localhost:{}/", other.port)});
    let got = probe.run("request", to_other).await.unwrap()["body"].as_str().unwrap().to_lowercase();
    assert!(!got.contains("authorization") && !got.contains(VALUE), "{got}");
    for record in probe.audit.0.lock().unwrap().iter() {
        assert!(!serde_json::to_string(record).unwrap().contains(VALUE));
    }
    assert!(probe.log.tail(usize::MAX).iter().all(|record| !record.message.contains(VALUE)));
}

#[tokio::test]
async fn hostile_no_header_of_the_guests_passes_for_the_secrets() {
    let (its, other) = (Server::start().await, Server::start().await);
    name("localhost", &[&["127.0.0.1"]]);
    let secret = json!({"name": "API_KEY", "header": "X-Api-Key", "hosts": [HOST]});
    let rules = json!([its.url(""), format!("http://localhost:{}", other.port)]);
    let manifest = json!({"permissions": {"network": rules, "private_network": true, "secrets": [secret]}});
    let secrets = Secrets::default().with("API_KEY", VALUE);
    let probe = Probe::load(&ENGINE, manifest, &HostPolicy::default(), secrets).await.unwrap();
    for header in ["x_api_key", "x-api_key", "X_API_KEY", "x.api.key"] {
        let asked = json!({"to": its.url("/"), "headers": {header: "guess"}});
        let error = probe.fails("request", asked, ErrorCode::Denied).await;
        says(&error, &[&header.to_lowercase(), "header of a secret", SECRETS]);
        probe.was(Decision::Denied, SECRETS, &its.url(""));
        assert!(!error.to_string().contains(VALUE));
    }
    assert_eq!(its.seen().connections, 0, "nothing was sent");
    // Where no secret is sent it is an ordinary header.
    let asked = json!({"to": format!("http://localhost:{}/", other.port), "headers": {"x_api_key": "mine"}});
    let got = probe.run("request", asked).await.unwrap()["body"].as_str().unwrap().to_lowercase();
    assert!(got.contains("x_api_key: mine"), "{got}");
}

#[tokio::test]
async fn hostile_headers_of_the_connection_are_refused_however_they_are_written() {
    let server = Server::start().await;
    let probe = probe(&ENGINE, json!([server.url("")]), json!([HOST])).await;
    for header in [
        "host",
        "Host",
        "connection",
        "keep-alive",
        "keep_alive",
        "transfer-encoding",
        "transfer_encoding",
        "content_length",
        "upgrade",
        "te",
        "trailer",
        "proxy-authorization",
        "proxy_authorization",
        "proxy-connection",
        "http2-settings",
    ] {
        let asked = json!({"to": server.url("/"), "headers": {header: "x"}});
        probe.run("request", asked).await.expect_err(header);
    }
    assert_eq!(server.seen().requests, 0);
}

#[tokio::test]
async fn hostile_a_secret_is_used_though_a_thousand_denials_come_before_it_and_the_audit_log_has_it() {
    let server = Server::start().await;
    let probe = probe(&ENGINE, json!([server.url("")]), json!([HOST])).await;
    for _ in 0..1500 {
        let _ = probe.run("request", json!({"to": "http://127.0.0.1:1/"})).await;
    }
    probe.run("request", json!({"to": server.url("/")})).await.unwrap();
    probe.was(Decision::Granted, SECRETS, &format!("API_KEY for {}", server.url("")));
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen_where_that_is_enforced() {
    let server = Server::start().await;
    let secret = json!({"name": "API_KEY", "header": "Authorization", "format": "Bearer {}", "hosts": [HOST]});
    let load = async |enforce: bool| {
        let permissions =
            json!({"network": [server.url("")], "private_network": true, "secrets": [secret], "env": ["HOME"]});
        let manifest = json!({"permissions": permissions, "enforce": enforce});
        let secrets = Secrets::default().with("API_KEY", VALUE);
        Probe::load(&ENGINE, manifest, &HostPolicy::default(), secrets).await.unwrap()
    };
    let ask = json!({"to": server.url("/")});
    let (lax, strict) = (load(false).await, load(true).await);
    for probe in [&lax, &strict] {
        probe.run("request", ask.clone()).await.unwrap();
    }
    assert_eq!(server.seen().requests, 2);
    for fails in [SECRETS, NETWORK] {
        for probe in [&lax, &strict] {
            *probe.audit.1.lock().unwrap() = Some(fails);
        }
        lax.run("request", ask.clone()).await.unwrap();
        let error = strict.fails("request", ask.clone(), ErrorCode::ResourceExhausted).await;
        says(&error, &["nothing that is not recorded", "the disk of the audit log is full"]);
    }
    assert_eq!(server.seen().requests, 4, "those of the one that need not be recorded");
    let error = |probe: &Probe| probe.log.tail(usize::MAX).iter().any(|one| one.message.contains("cannot be written"));
    assert!(error(&lax) && error(&strict));
    // The call fails even if the guest ignores the error, and its next call is not affected.
    *strict.audit.1.lock().unwrap() = Some("permissions.env");
    for _ in 0..2 {
        strict.fails("environment", json!({}), ErrorCode::ResourceExhausted).await;
    }
    *strict.audit.1.lock().unwrap() = None;
    assert_ne!(strict.run("environment", json!({})).await.unwrap(), json!([]));
    strict.run("request", ask).await.unwrap();
}

#[tokio::test]
async fn hostile_a_redirect_and_an_error_show_no_secret() {
    let server = Server::start().await;
    let probe = probe(&ENGINE, json!([server.url(""), "http://127.0.0.1:1"]), json!([HOST])).await;
    // The guest must follow it with a request of its own, which is checked against the rules.
    let answer = probe.run("request", json!({"to": server.url("/elsewhere")})).await.unwrap();
    assert_eq!(answer["status"], 302);
    assert!(!answer.to_string().contains(VALUE), "{answer}");
    // Nobody listens there.
    let error = probe.run("request", json!({"to": "http://127.0.0.1:1/"})).await.unwrap_err();
    assert!(!format!("{error:?}").contains(VALUE), "{error}");
    assert!(probe.log.tail(usize::MAX).iter().all(|record| !record.message.contains(VALUE)));
}

#[tokio::test]
async fn hostile_a_secret_does_not_go_in_the_clear() {
    let server = Server::start().await;
    name("clear.test", &[&["127.0.0.1"], &["127.0.0.1", "10.0.0.1"]]);
    let to = format!("http://clear.test:{}", server.port);
    let probe = probe(&ENGINE, json!([to]), json!(["*.test"])).await;
    // To loopback it may be sent; the second answer is another address.
    probe.run("request", json!({"to": format!("{to}/")})).await.unwrap();
    let error = probe.fails("request", json!({"to": format!("{to}/")}), ErrorCode::Denied).await;
    says(&error, &["API_KEY", "only over https", SECRETS]);
    probe.was(Decision::Denied, SECRETS, &format!("API_KEY for {to}"));
    assert_eq!(server.seen().requests, 1);
}

#[tokio::test]
async fn a_secret_that_the_host_has_not_is_told_at_load() {
    let secret = json!({"name": "NO_SUCH", "header": "X-Key", "hosts": ["example.com"]});
    let manifest = json!({"permissions": {"network": ["https://example.com"], "secrets": [secret]}});
    let loaded = Probe::load(&ENGINE, manifest, &HostPolicy::default(), Secrets::default()).await;
    let error = loaded.map(drop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    says(&error, &["NO_SUCH", "BIVIUM_SECRET_NO_SUCH", "ManagerBuilder::secret"]);
}

/// A certificate authority of the test, in a PEM file, and a server's side of TLS with its certificate for a name.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn acceptor(&self, name: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }
}

#[tokio::test]
async fn hostile_over_tls_a_secret_goes_to_whom_the_certificate_names() {
    let authority = Authority::new();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), authority.0.pem()).unwrap();
    let config = WasmConfig::new().instances(8).no_cache().resolver(Names).certificates(file.path());
    let engine = WasmEngine::new(config).unwrap();

    let server = Server::start_tls(authority.acceptor("api.tls.test")).await;
    let thief = Server::start_tls(authority.acceptor("thief.tls.test")).await;
    let stranger = Server::start_tls(Authority::new().acceptor("api.tls.test")).await;
    // Whoever has taken over the name answers the second and third lookup.
    name("api.tls.test", &[&["127.0.0.1"]]);
    let to = |server: &Server| format!("https://api.tls.test:{}/", server.port);
    let probe = probe(&engine, json!(["https://api.tls.test:*"]), json!(["api.tls.test"])).await;
    let got = probe.run("request", json!({"to": to(&server)})).await.unwrap();
    assert!(got["body"].as_str().unwrap().contains(VALUE), "{got}");
    for wrong in [&thief, &stranger] {
        let error = probe.fails("request", json!({"to": to(wrong)}), ErrorCode::PluginFailed).await;
        assert!(error.message().contains("TlsCertificateError"), "{error}");
        assert!(probe.log.tail(1)[0].message.contains("certificate"), "{}", probe.log.tail(1)[0].message);
        wrong.sees(|seen| seen.closed == 1).await;
        assert_eq!(wrong.seen().requests, 0);
    }
    // The machine's own authorities do not include this one.
    let elsewhere = super::secrets::probe(&ENGINE, json!(["https://api.tls.test:*"]), json!(["api.tls.test"])).await;
    elsewhere.fails("request", json!({"to": to(&server)}), ErrorCode::PluginFailed).await;
    assert_eq!(server.seen().requests, 1);
}
