//! Completes errors whose cause is the policy and not the manifest.

use super::decided::HOST;
use super::{Granted, HostPattern, HostPolicy, NetworkRule, Refusal, matches_pattern};
use crate::manifest::Limits;
use crate::{ErrorCode, PluginError};

/// The phrases in errors that say where a plugin's limit is raised.
const IN_MANIFEST: [&str; 3] = [" in its manifest", " in the plugin's manifest", " in the manifest"];

impl HostPolicy {
    /// A sentence about a policy that has `permissions` but does not apply them to every plugin; none for any other.
    #[must_use]
    pub fn trusting(&self) -> Option<String> {
        let told = || {
            format!(
                "{} has `permissions` but no `confine`, so it does not restrict Python plugins that have no `permissions`: these are \
                 trusted",
                self.shown()
            )
        };
        (self.permissions.is_some() && !self.confine).then(told)
    }
}

impl Granted {
    /// The policy's name in messages, if only the policy requires that a plugin is refused which this machine cannot confine.
    #[must_use]
    pub fn enforcing_policy(&self) -> Option<String> {
        (self.enforce && self.decided.enforces).then(|| self.decided.policy())
    }

    /// If the policy is the cause of this error, adds the policy's name, its rule and what to do. Where errors are made, only the
    /// manifest's key is known.
    #[must_use]
    pub fn explain(&self, error: PluginError) -> PluginError {
        let names = |key: &str| [error.help(), Some(error.message())].into_iter().flatten().any(|said| says(said, key));
        let held = Limits::KEYS.iter().zip(self.limits.each());
        let held = held.filter_map(|(&key, (_, value))| Some((key, value.filter(|_| self.decided.has_limit(key))?)));
        let mut held = held.filter(|_| error.code() != ErrorCode::Denied);
        if let Some((key, value)) = held.find(|(key, _)| names(key)) {
            return self.of_limit(error, key, value);
        }
        let by_policy = self.refused.iter().filter(|refusal| refusal.by != HOST && names(refusal.key));
        let by_policy: Vec<&Refusal> = by_policy.collect();
        if let Some(told) = told_of(&by_policy, &error) {
            return error.and_help(format!("{told}: change the policy"));
        }
        if self.decided.confines && (error.code() == ErrorCode::Denied || names("permissions.env")) {
            let policy = self.decided.policy();
            return error.and_help(format!(
                "{policy} has `confine`, and the plugin's manifest has no `permissions`: add those that it needs"
            ));
        }
        error
    }

    fn of_limit(&self, error: PluginError, key: &str, value: u64) -> PluginError {
        let policy = self.decided.policy();
        let help = error.help().unwrap_or_default();
        match IN_MANIFEST.iter().find(|place| help.contains(*place)) {
            Some(place) => {
                let help = help.replacen(place, &format!(" in {policy}, which allows {value}"), 1);
                error.replace_help(help)
            }
            None => error.and_help(format!("{policy} sets `{key}` to {value}: raise it there")),
        }
    }
}

/// Of what a policy refuses, that which the error is about: what it names itself, or else the first, and how much there is besides.
fn told_of(refused: &[&Refusal], error: &PluginError) -> Option<String> {
    let said = format!("{} {}", error.message(), error.help().unwrap_or_default());
    let named = refused.iter().filter_map(|refusal| Some((refusal.named_in(&said)?, refusal)));
    if let Some((_, refusal)) = named.max_by_key(|(length, _)| *length) {
        return Some(refusal.to_string());
    }
    // Of variables Python tells which one it is: where it is none of these, the policy is not behind it.
    let tells_variable = error.failure().is_some_and(|failure| failure.kind == "KeyError");
    let (first, rest) = refused.split_first().filter(|(first, _)| !tells_variable && first.key != "pass_env")?;
    Some(match rest.len() {
        0 => first.to_string(),
        more => format!("{first}, and {more} more (`bivium info` lists them)"),
    })
}

impl Refusal {
    /// How much of what it refuses a text names, in bytes; none if it does not name it.
    fn named_in(&self, text: &str) -> Option<usize> {
        let wanted = self.wanted.as_str();
        let subject = match self.key {
            "permissions.filesystem" => wanted.get(wanted.find('/')?..)?.to_owned(),
            "permissions.secrets" => wanted.split(" for ").next()?.to_owned(),
            "permissions.network" => match wanted.parse::<NetworkRule>().ok()?.host {
                HostPattern::Name(name) | HostPattern::Below(name) => name,
                HostPattern::Address(address) => address.to_string(),
                HostPattern::Any => return Some(0),
            },
            "pass_env" => {
                let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                return words.find(|word| matches_pattern(wanted, word)).map(str::len);
            }
            _ => wanted.to_owned(),
        };
        says(text, &subject).then_some(subject.len())
    }
}

/// Whether a text contains this key, and not as a part of a longer one.
fn says(text: &str, key: &str) -> bool {
    let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices(key).any(|(at, _)| text.get(at + key.len()..).is_some_and(is_end))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{Failure, Manifest};

    use super::*;

    fn granted(policy: &str, keys: &str) -> Granted {
        let policy = HostPolicy { file: Some("/p.json".into()), ..serde_json::from_str(policy).unwrap() };
        let text = format!(r#"{{"name": "p", "version": "1", "module": "m", "class": "C"{keys}}}"#);
        policy.grant(&Manifest::parse(&text, Path::new("/m/p.json")).unwrap())
    }

    fn help(granted: &Granted, error: PluginError) -> String {
        granted.explain(error).help().unwrap_or_default().to_owned()
    }

    fn full(help: &str) -> PluginError {
        PluginError::resource_exhausted("too much").with_help(help)
    }

    #[test]
    fn a_limit_of_the_policy_is_raised_there_and_one_of_the_manifest_in_the_manifest() {
        let raise = "raise `limits.memory_mb` in its manifest, or use less";
        let keys = r#", "limits": {"memory_mb": 20}"#;
        let lower = granted(r#"{"limits": {"memory_mb": 10}}"#, keys);
        assert_eq!(
            help(&lower, full(raise)),
            "raise `limits.memory_mb` in the host's policy /p.json, which allows 10, or use less"
        );
        let bare = help(&lower, full("limits.memory_mb is 10"));
        assert_eq!(
            bare,
            "limits.memory_mb is 10; the host's policy /p.json sets `limits.memory_mb` to 10: raise it there"
        );
        assert_eq!(
            help(&lower, full("raise `limits.memory_mbs` in its manifest")),
            "raise `limits.memory_mbs` in its manifest"
        );
        assert_eq!(help(&granted(r#"{"limits": {"memory_mb": 30}}"#, keys), full(raise)), raise);
        assert!(
            help(&granted(r#"{"limits": {"memory_mb": 30}}"#, ""), full(raise)).contains("/p.json, which allows 30")
        );
        let refused = &lower.refused[0];
        assert_eq!(
            refused.to_string(),
            "the host's policy /p.json does not grant 20 (limits.memory_mb); the most that it grants is 10"
        );
        let most = &granted("{}", r#", "limits": {"cache_mb": 1000000}"#).refused[0];
        assert!(most.to_string().starts_with("the host does not grant"), "{most}");
    }

    #[test]
    fn of_what_the_policy_refuses_an_error_tells_what_it_is_about() {
        let keys = r#", "permissions": {"network": ["https://a.example", "https://*.b.example"], "env": ["A", "AB"],
            "filesystem": [{"path": "/srv/one", "guest": "/1"}, {"path": "/srv/one/two", "guest": "/2"}]}"#;
        let refusing = granted(r#"{"permissions": {}}"#, keys);
        let told = |message: &str, key: &str| help(&refusing, PluginError::denied(message).with_help(key));
        for (message, key, about) in [
            (
                "no /srv/one/two/x",
                "permissions.filesystem",
                "read /srv/one/two (permissions.filesystem): change the policy",
            ),
            ("no /srv/one/x", "permissions.filesystem", "read /srv/one (permissions.filesystem): change the policy"),
            ("no /else", "permissions.filesystem", "read /srv/one (permissions.filesystem), and 1 more (`bivium info`"),
            (
                "no c.b.example:443",
                "permissions.network",
                "https://*.b.example (permissions.network): change the policy",
            ),
            ("AB is not there", "permissions.env", "AB (permissions.env): change the policy"),
        ] {
            let told = told(message, key);
            assert!(told.contains(about) && told.matches("does not grant").count() == 1, "{told}");
        }
        let unset = |granted: &Granted, name: &str| {
            let failure = Failure::new("KeyError", format!("'{name}'"));
            help(
                granted,
                PluginError::plugin_failed(failure).with_help("the host keeps it: `pass_env` or `permissions.env`"),
            )
        };
        assert!(unset(&refusing, "A").contains("does not grant A (permissions.env)"));
        assert!(!unset(&refusing, "OTHER").contains("does not grant"));
        let passed = granted(r#"{"permissions": {}}"#, r#", "pass_env": ["MY_*", "X"]"#);
        assert!(unset(&passed, "MY_KEY").contains("does not grant MY_* (pass_env): change the policy"));
        let confined = granted(r#"{"confine": true}"#, "");
        assert!(unset(&confined, "MY_KEY").contains("/p.json has `confine`"));
    }

    #[test]
    fn a_denial_names_what_the_policy_refuses_or_that_it_confines() {
        let denied = |help: &str| PluginError::denied("no").with_help(help);
        let refusing = granted(r#"{"permissions": {}}"#, r#", "permissions": {"network": ["https://a.example"]}"#);
        let told = help(&refusing, denied("it needs permissions.network"));
        let refused =
            "the host's policy /p.json does not grant https://a.example (permissions.network): change the policy";
        assert_eq!(told, format!("it needs permissions.network; {refused}"));
        assert_eq!(help(&refusing, denied("it needs permissions.filesystem")), "it needs permissions.filesystem");
        let confining = granted(r#"{"confine": true}"#, "");
        assert!(help(&confining, denied("held")).contains("/p.json has `confine`"));
        assert_eq!(help(&granted("{}", ""), denied("held")), "held");
        assert_eq!(confining.enforcing_policy(), None);
        let enforcing = granted(r#"{"confine": true, "enforce": true}"#, "");
        assert_eq!(enforcing.enforcing_policy().as_deref(), Some("the host's policy /p.json"));
    }
}
