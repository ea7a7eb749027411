//! Secrets: they go to their hosts in the host's hand, and nowhere else.

use std::sync::Arc;

use bivium_instances::{Decision, Secrets};
use bivium_interface::{ErrorCode, HostPolicy};
use bivium_wasm::{WasmConfig, WasmEngine};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::common::says;
use crate::server::{HOST, Server};
use crate::{ENGINE, Names, Probe, name};

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
    // This server says what it got; only so does the guest learn it.
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
async fn hostile_a_secret_does_not_go_in_the_clear() {
    let server = Server::start().await;
    name("clear.test", &[&["127.0.0.1"], &["127.0.0.1", "10.0.0.1"]]);
    let to = format!("http://clear.test:{}", server.port);
    let probe = probe(&ENGINE, json!([to]), json!(["*.test"])).await;
    // To loopback it may; the second answer leads beyond.
    probe.run("request", json!({"to": format!("{to}/")})).await.unwrap();
    let error = probe.fails("request", json!({"to": format!("{to}/")}), ErrorCode::Denied).await;
    says(&error, &["API_KEY", "https only", SECRETS]);
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

/// An authority of the test's own, in a file of PEM, and a server's side of TLS with its certificate for a name.
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
    // The second and third lookup are answered by whoever has taken over the name.
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
    // The machine's own authorities do not know this one.
    let elsewhere = super::secrets::probe(&ENGINE, json!(["https://api.tls.test:*"]), json!(["api.tls.test"])).await;
    elsewhere.fails("request", json!({"to": to(&server)}), ErrorCode::PluginFailed).await;
    assert_eq!(server.seen().requests, 1);
}
