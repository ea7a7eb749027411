//! [`HostPolicy`]: what a host grants at most, whatever manifests ask for.
//!
//! A plugin gets the permissions that both its manifest declares and the policy grants, and the lower limit of the two.
//! [`HostPolicy::grant`] computes this for both runtimes, and [`Granted`] says what is not granted and why.

mod decided;
mod explain;
mod grant;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use grant::{Granted, Refusal, matches_pattern, real};

pub use crate::network::{HostPattern, NetworkRule, Scheme, is_private};
pub use crate::variables::SECRET_VARIABLE;

use crate::manifest::{CheckedText, Forms, Limits, Permissions, quoted, schema};
use crate::{PluginError, Problem, Result};

/// Limits of which a policy may leave nothing: there are plugins that do without. With 0 of any other nothing could run.
const MAY_BE_0: [&str; 10] = [
    "table_elements",
    "tables",
    "blob_mb",
    "blobs",
    "files",
    "connections",
    "response_mb",
    "log_records",
    "cache_mb",
    "queue",
];

/// The JSON Schema of a policy's file. A policy may set some limits to 0; a manifest may not.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let mut schema = schema::of::<HostPolicy>();
    let limits = schema.pointer_mut("/$defs/Limits/properties").and_then(Value::as_object_mut);
    for (key, limit) in limits.into_iter().flatten() {
        if let Some(limit) = limit.as_object_mut() {
            let least = u8::from(!MAY_BE_0.contains(&key.as_str()));
            limit.insert("minimum".to_owned(), least.into());
        }
    }
    schema
});

/// The largest policy file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

/// What a host grants at most. By default it grants what each manifest declares, within [`HostPolicy::CEILINGS`]: this assumes that the
/// user has read a manifest before installing it. A host that takes manifests from strangers should set `permissions`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Bivium host policy")]
#[non_exhaustive]
pub struct HostPolicy {
    /// What plugins may be granted, in the same form as in a manifest. A directory covers everything beneath it, `*` in `network` covers
    /// names, and a secret covers its name and hosts. Everything else is refused. Without `permissions`, manifests get what they
    /// declare.
    pub permissions: Option<Permissions>,
    /// The highest limits. A manifest that asks for more gets these values.
    pub limits: Limits,
    /// Whether a Python plugin whose manifest has no `permissions` is confined and gets none, instead of being trusted.
    pub confine: bool,
    /// Whether to refuse workers whose permissions and limits this machine cannot enforce.
    pub enforce: bool,
    /// The file that the policy was read from, for messages.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl HostPolicy {
    /// The highest limits of a component, unless a policy sets others.
    pub const CEILINGS: Limits = Limits {
        memory_mb: Some(4096),
        table_elements: Some(60_000),
        core_instances: Some(100),
        memories: Some(8),
        tables: Some(64),
        stack_kb: Some(512),
        call_ms: None,
        cpu_ms: None,
        fuel: None,
        component_mb: Some(256),
        compile_s: Some(600),
        payload_mb: Some(1024),
        blob_mb: Some(64 << 10),
        blobs: Some(100_000),
        files: Some(10_000),
        connections: Some(1024),
        response_mb: Some(4096),
        log_records: Some(100_000),
        processes: None,
        cache_mb: None,
        queue: Some(1_000_000),
    };

    /// The limits of a component, unless its manifest sets others.
    pub const DEFAULTS: Limits = Limits {
        memory_mb: Some(256),
        // A JavaScript engine compiled to WebAssembly needs tens of thousands.
        table_elements: Some(60_000),
        core_instances: Some(100),
        memories: Some(8),
        tables: Some(64),
        stack_kb: Some(512),
        call_ms: None,
        cpu_ms: None,
        fuel: None,
        // The largest common components, which contain an interpreter, have 12 to 18 MB and take 6 to 17 s to compile.
        component_mb: Some(64),
        compile_s: Some(120),
        payload_mb: Some((crate::Payload::MAX_JSON_BYTES >> 20) as u64),
        blob_mb: Some(1024),
        blobs: Some(1024),
        files: Some(256),
        connections: Some(16),
        response_mb: Some(64),
        log_records: Some(1000),
        processes: None,
        cache_mb: None,
        queue: Some(1024),
    };

    /// The highest limits of a Python plugin, unless a policy sets others.
    #[must_use]
    pub fn worker_ceilings() -> Limits {
        Limits { cache_mb: Some(256 << 10), ..Limits::default() }
    }

    /// The limits of a Python plugin, unless its manifest sets others.
    #[must_use]
    pub fn worker_defaults() -> Limits {
        // Room for some large models.
        Limits { cache_mb: Some(32 << 10), ..Limits::default() }
    }

    /// A policy that grants no permissions, for manifests that nobody has read.
    #[must_use]
    pub fn deny_all() -> Self {
        Self { permissions: Some(Permissions::default()), confine: true, enforce: true, ..Self::default() }
    }

    /// Reads a policy from a JSON file. Relative paths in it are relative to the file.
    ///
    /// # Errors
    /// `not-found` or `denied` if it cannot be read; `invalid-config`, with the places, if it is not a valid policy.
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |what: &str| format!("the host policy {} {what}", path.display());
        let text = crate::read_text(path, MOST_BYTES).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PluginError::not_found(failed("does not exist")),
            std::io::ErrorKind::InvalidInput | std::io::ErrorKind::InvalidData => {
                PluginError::invalid_config(failed(&format!("cannot be read: {error}")))
            }
            _ => PluginError::denied(failed(&format!("cannot be read: {error}"))),
        })?;
        let invalid = |problems| {
            PluginError::invalid_config(failed("is not valid"))
                .with_problems(problems)
                .with_help("docs/policy.md describes what a policy may contain")
        };
        let checked = CheckedText::read(&text, &SCHEMA, "a host policy").map_err(invalid)?;
        if !checked.is_fit() {
            return Err(invalid(checked.problems(&[])));
        }
        let unread =
            |error: &dyn std::fmt::Display| PluginError::invalid_config(failed(&format!("is not valid: {error}")));
        let mut policy: Self = serde_json::from_value(checked.value()).map_err(|error| unread(&error))?;
        let base = std::path::absolute(path).map_err(|error| unread(&error))?;
        let base = base.parent().unwrap_or(Path::new("/"));
        policy.file = Some(path.to_owned());
        let Some(permissions) = &mut policy.permissions else { return Ok(policy) };
        let wrong = |(n, rule): (usize, &String)| {
            let why = rule.parse::<NetworkRule>().err()?;
            Some(Problem::new(format!("/permissions/network/{n}"), format!("{} allows nothing: {why}", quoted(rule))))
        };
        let wrong: Vec<Problem> = permissions.network.iter().enumerate().filter_map(wrong).collect();
        if !wrong.is_empty() {
            return Err(invalid(checked.problems(&wrong)));
        }
        for directory in &mut permissions.filesystem {
            directory.path = base.join(&directory.path);
        }
        Ok(policy)
    }

    /// Whether a JSON object with these keys is meant as a policy: it has a key of a policy and none that only a manifest has.
    #[must_use]
    pub fn is_meant<'k>(keys: impl IntoIterator<Item = &'k str> + Clone) -> bool {
        let has = |key: &str| SCHEMA.get("properties").is_some_and(|known| known.get(key).is_some());
        keys.clone().into_iter().any(has) && !keys.into_iter().any(|key| !has(key) && Forms::plain().has_key(key))
    }
}
