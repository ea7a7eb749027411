//! TLS: the certificate authorities that a host trusts, and a plugin's sessions.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustls_native_certs::CertificateResult;
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The certificate authorities, read at the first use.
#[derive(Default, Debug)]
pub(super) struct Roots {
    /// The file to use in place of the machine's authorities.
    file: Option<PathBuf>,
    store: OnceCell<Arc<RootCertStore>>,
}

impl Roots {
    pub(super) fn of_file(file: PathBuf) -> Self {
        Self { file: Some(file), store: OnceCell::new() }
    }

    async fn store(&self) -> io::Result<&Arc<RootCertStore>> {
        let read = || async {
            let file = self.file.clone();
            tokio::task::spawn_blocking(move || read(file)).await.map_err(io::Error::other)?
        };
        self.store.get_or_try_init(read).await
    }
}

fn read(file: Option<PathBuf>) -> io::Result<Arc<RootCertStore>> {
    let CertificateResult { certs, errors, .. } = match &file {
        Some(file) => rustls_native_certs::load_certs_from_paths(Some(file), None),
        None => rustls_native_certs::load_native_certs(),
    };
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(certs);
    if store.is_empty() {
        let place = file.map_or_else(|| "this machine".to_owned(), |file| file.display().to_string());
        let why = errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "{place} has no certificates of authorities{why} (install the package `ca-certificates`, or set `SSL_CERT_FILE`)"
            ),
        ));
    }
    Ok(Arc::new(store))
}

/// One plugin's TLS. Sessions are resumed within the plugin, not across plugins.
pub(super) struct Tls {
    roots: Arc<Roots>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Tls {
    pub(super) fn new(roots: &Arc<Roots>) -> Self {
        Self { roots: Arc::clone(roots), config: OnceLock::new() }
    }

    async fn config(&self) -> io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let roots = Arc::clone(self.roots.store().await?);
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::clone(self.config.get_or_init(|| Arc::new(config))))
    }

    /// Does the TLS handshake. The certificate must be valid for `host`, a name or an address.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        TlsConnector::from(self.config().await?).connect(name, stream).await
    }
}
