//! The permissions that a manifest asks for. Everything else is denied. The host decides what it grants of them.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text;
use crate::lossy;

/// What the plugin may do. Everything that is not listed is denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Permissions {
    /// Directories that it may use.
    #[schemars(length(max = 64))]
    pub filesystem: Vec<FilesystemPermission>,
    /// Where it may connect to, for example `https://api.example.com:443`; see [`NetworkRule`](crate::NetworkRule).
    #[schemars(with = "Vec<text::Origin>", length(max = 256))]
    pub network: Vec<String>,
    /// Whether names in `network` may resolve to private, loopback and link-local addresses.
    pub private_network: bool,
    /// Environment variables of the host that it may see.
    #[schemars(with = "Vec<text::EnvName>", length(max = 256))]
    pub env: Vec<String>,
    /// Whether it may read the clocks. Otherwise time passes only while it sleeps.
    pub clocks: bool,
    /// Whether it gets random numbers. Otherwise its random numbers are the same in every run.
    pub random: bool,
    /// Whether a component also sees the blobs of its call as read-only files, for guests that can only read files.
    pub blob_files: bool,
    /// Secrets that the host adds to its HTTP requests.
    #[schemars(length(max = 64))]
    pub secrets: Vec<SecretPermission>,
}

/// A directory that a plugin may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FilesystemPermission {
    /// The directory on the host.
    #[serde(serialize_with = "lossy::path")]
    #[schemars(with = "text::FilePath")]
    pub path: PathBuf,
    /// Where the plugin sees it.
    #[schemars(with = "text::GuestPath")]
    pub guest: String,
    /// What it may do there.
    #[serde(default)]
    pub mode: FilesystemMode,
}

impl FilesystemPermission {
    /// Permission for this directory of the host, which the plugin sees as `guest`.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, guest: impl Into<String>, mode: FilesystemMode) -> Self {
        Self { path: path.into(), guest: guest.into(), mode }
    }
}

/// What a plugin may do in a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FilesystemMode {
    /// Read.
    #[default]
    Read,
    /// Read and write.
    Write,
}

/// A secret that the host adds to a plugin's HTTP requests, so that the plugin never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct SecretPermission {
    /// The secret's name.
    #[schemars(with = "text::EnvName")]
    pub name: String,
    /// The header that carries it.
    #[schemars(with = "text::Header")]
    pub header: String,
    /// The header's value; `{}` stands for the secret.
    #[serde(default = "bare_secret")]
    #[schemars(with = "text::SecretFormat")]
    pub format: String,
    /// The hosts that it may be sent to.
    #[schemars(with = "Vec<text::Host>", length(min = 1, max = 64))]
    pub hosts: Vec<String>,
}

fn bare_secret() -> String {
    "{}".to_owned()
}
