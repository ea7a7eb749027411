//! [`Secret`]: a header that the host adds to a plugin's requests, so that the plugin never sees its value.

use super::headers::{is_forbidden, read_alike};
use super::target::Target;
use bivium_interface::manifest::SecretPermission;
use bivium_interface::{PluginError, Result};
use bivium_records::Secrets;
use http::{HeaderMap, HeaderName, HeaderValue};

/// One secret of one plugin.
pub(super) struct Secret {
    permission: SecretPermission,
    header: HeaderName,
    value: HeaderValue,
}

impl Secret {
    /// # Errors
    /// `invalid-config` if the host has no such secret, or its value is not valid in a header; `invalid-manifest` for a header that the
    /// plugin must not set.
    pub(super) fn new(permission: &SecretPermission, secrets: &Secrets) -> Result<Self> {
        let name = &permission.name;
        let secret = secrets.granted(name)?;
        let may_carry = |header: &HeaderName| !is_forbidden(header) && *header != http::header::CONTENT_LENGTH;
        let header = permission.header.parse::<HeaderName>().ok().filter(may_carry);
        let header = header.ok_or_else(|| {
            PluginError::invalid_manifest(format!(
                "the secret `{name}` cannot be sent in the header {:?}",
                permission.header
            ))
            .with_help("name another header in `permissions.secrets`")
        })?;
        let mut value = HeaderValue::from_str(&permission.format.replace("{}", secret)).map_err(|_| {
            PluginError::invalid_config(format!("the secret `{name}` has characters that are not allowed in a header"))
                .with_help("look for a line break at its end")
        })?;
        value.set_sensitive(true);
        Ok(Self { permission: permission.clone(), header, value })
    }

    pub(super) fn name(&self) -> &str {
        &self.permission.name
    }

    /// Whether it is sent to this host; an error says why it must not be sent in this way. `is_safe` says whether nobody in between can
    /// read it, or the rules name the address.
    pub(super) fn is_for(&self, target: &Target, is_safe: impl FnOnce() -> bool) -> Result<bool, &'static str> {
        if !self.permission.covers(&target.host) {
            return Ok(false);
        }
        if is_safe() {
            return Ok(true);
        }
        Err(
            "a secret is sent only over https, except to loopback addresses and addresses that `permissions.network` names",
        )
    }
}

/// A header of the guest that the server may confuse with a secret's header, though its name is different.
pub(super) fn confusable<'a>(headers: &'a HeaderMap, secrets: &[&Secret]) -> Option<&'a HeaderName> {
    let is_confusable = |name: &HeaderName| {
        secrets.iter().any(|secret| *name != secret.header && read_alike(name.as_str(), secret.header.as_str()))
            && !secrets.iter().any(|secret| *name == secret.header)
    };
    headers.keys().find(|name| is_confusable(name))
}

/// Adds secrets to the headers, in place of what the guest put there.
pub(super) fn fill(headers: &mut HeaderMap, secrets: &[&Secret]) {
    for secret in secrets {
        headers.remove(&secret.header);
    }
    for secret in secrets {
        headers.append(secret.header.clone(), secret.value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bivium_interface::ErrorCode;
    use serde_json::json;

    fn permission(header: &str) -> SecretPermission {
        let permission = json!({"name": "KEY", "header": header, "format": "Bearer {}", "hosts": ["api.example.com"]});
        serde_json::from_value(permission).unwrap()
    }

    #[test]
    fn a_secret_replaces_the_guests_header_and_is_not_shown() {
        let secret = Secret::new(&permission("Authorization"), &Secrets::default().with("KEY", "s3cret")).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("Basic guess"));
        headers.append("authorization", HeaderValue::from_static("Basic another"));
        fill(&mut headers, &[&secret]);
        assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer s3cret"]);
        assert!(!format!("{headers:?}").contains("s3cret"));
    }

    #[test]
    fn a_header_that_servers_confuse_with_the_secrets_is_found() {
        let secret = Secret::new(&permission("X-Api-Key"), &Secrets::default().with("KEY", "s3cret")).unwrap();
        let found = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.append(name, HeaderValue::from_static("guess"));
            confusable(&headers, &[&secret]).is_some()
        };
        for name in ["x_api_key", "x-api_key", "x_api-key", "x.api.key", "X_API_KEY", "x~api!key"] {
            assert!(found(name), "{name}");
        }
        for name in ["x-api-key", "x-apikey", "x-api-keys", "xx-api-key", "authorization"] {
            assert!(!found(name), "{name}");
        }
    }

    #[test]
    fn a_secret_that_cannot_be_sent_is_refused_without_its_value() {
        let error = |header, secrets: Secrets| Secret::new(&permission(header), &secrets).map(drop).unwrap_err();
        let missing = error("Authorization", Secrets::default());
        assert_eq!(missing.code(), ErrorCode::InvalidConfig);
        assert!(missing.to_string().contains("BIVIUM_SECRET_KEY"), "{missing}");
        let broken = error("Authorization", Secrets::default().with("KEY", "s3cret\n"));
        assert_eq!(broken.code(), ErrorCode::InvalidConfig);
        assert!(!broken.to_string().contains("s3cret"), "{broken}");
        for header in ["Host", "Transfer-Encoding", "Content-Length", "Content_Length", "Proxy-Key", "Trailer"] {
            assert_eq!(error(header, Secrets::default().with("KEY", "x")).code(), ErrorCode::InvalidManifest);
        }
    }
}
