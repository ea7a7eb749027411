//! [`Decided`]: what the policy, and not the manifest, decides about one plugin.

use std::path::PathBuf;

use super::HostPolicy;
use crate::Manifest;
use crate::manifest::Limits;

/// The name in messages for the host itself, if it refuses something that no policy decides.
pub(super) const HOST: &str = "the host";

/// What the policy, and not the manifest, decides about one plugin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Decided {
    file: Option<PathBuf>,
    /// The keys of the limits whose values come from the policy.
    limits: Vec<&'static str>,
    pub(super) confines: bool,
    pub(super) enforces: bool,
}

impl Decided {
    /// `asked` are the manifest's limits, or else the defaults.
    pub(super) fn of(policy: &HostPolicy, manifest: &Manifest, asked: &Limits) -> Self {
        let lowers =
            |most: Option<u64>, asked: Option<u64>| most.is_some_and(|most| asked.is_none_or(|asked| asked > most));
        let pairs = policy.limits.each().zip(asked.each()).zip(Limits::KEYS);
        Self {
            file: policy.file.clone(),
            limits: pairs.filter(|(((_, most), (_, asked)), _)| lowers(*most, *asked)).map(|(_, key)| *key).collect(),
            confines: policy.confine && manifest.permissions.is_none(),
            enforces: policy.enforce && !manifest.enforce,
        }
    }

    /// The policy's name in messages.
    pub(super) fn policy(&self) -> String {
        shown(self.file.as_ref())
    }

    pub(super) fn has_limit(&self, key: &str) -> bool {
        self.limits.contains(&key)
    }
}

impl HostPolicy {
    /// Its name in messages.
    pub(super) fn shown(&self) -> String {
        shown(self.file.as_ref())
    }
}

fn shown(file: Option<&PathBuf>) -> String {
    match file {
        Some(file) => format!("the host's policy {}", file.display()),
        None => "the host's policy".to_owned(),
    }
}
