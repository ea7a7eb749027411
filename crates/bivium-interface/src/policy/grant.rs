//! What a plugin is granted: what its manifest asks for, limited by the host's policy.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::decided::{Decided, HOST};
use super::{HostPolicy, NetworkRule, SECRET_VARIABLE};
use crate::Manifest;
use crate::manifest::{FilesystemMode, FilesystemPermission, Limits, Permissions, SecretPermission};

/// What one plugin may do, and how much it may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Granted {
    /// Whether the plugin is confined to its permissions: every component is, and every Python plugin that has permissions.
    pub confined: bool,
    /// What it may do. The paths of `filesystem` contain no symbolic links.
    pub permissions: Permissions,
    /// The variables of the host's environment that a trusted worker gets: those of `pass_env` that the policy allows.
    pub pass_env: Vec<String>,
    /// Its limits. For a component, all limits except `call_ms`, `cpu_ms`, `fuel`, `processes` and `cache_mb` have a value; for a Python
    /// plugin, `cache_mb` has one, and so have those that its manifest or the policy sets.
    pub limits: Limits,
    /// Whether the plugin is refused on a machine that cannot enforce its permissions and limits.
    pub enforce: bool,
    /// What its manifest asks for and is not granted.
    pub refused: Vec<Refusal>,
    /// What the policy decides, so that errors can name the policy and not the manifest.
    #[serde(skip)]
    pub(super) decided: Decided,
}

/// Something that a manifest asks for and that is not granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The manifest's key, for example `permissions.network`.
    pub key: &'static str,
    /// What the manifest asks for there.
    pub wanted: String,
    /// What is granted instead; nothing if empty.
    pub instead: String,
    /// Who refuses it: the host's policy with its file, or `the host`, which has its own rules and highest limits.
    pub by: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, wanted, instead, by } = self;
        if wanted == "true" {
            return write!(f, "{by} does not grant {key}");
        }
        write!(f, "{by} does not grant {wanted} ({key})")?;
        if instead.is_empty() { Ok(()) } else { write!(f, "; the most that it grants is {instead}") }
    }
}

impl Refusal {
    /// Why it is refused, for a record that already names what is refused.
    #[must_use]
    pub fn reason(&self) -> String {
        let Self { instead, by, .. } = self;
        if instead.is_empty() {
            return format!("{by} does not grant it");
        }
        format!("{by} does not grant it; the most that it grants is {instead}")
    }
}

impl Granted {
    /// The rules of `permissions.network`, parsed.
    #[must_use]
    pub fn network(&self) -> Vec<NetworkRule> {
        rules(&self.permissions.network)
    }
}

fn rules(texts: &[String]) -> Vec<NetworkRule> {
    // Rules that cannot be parsed do not occur: manifests and policies with such rules are refused when they are read.
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

impl HostPolicy {
    /// What a plugin is granted. Reads the file system to resolve symbolic links.
    #[must_use]
    pub fn grant(&self, manifest: &Manifest) -> Granted {
        let mut refused = Vec::new();
        let wanted = manifest.permissions.clone();
        let is_component = manifest.wasm().is_some();
        let asks_for_limits = manifest.limits != Limits::default() || self.limits != Limits::default();
        let confined = is_component || wanted.is_some() || self.confine;
        let mut wanted = wanted.unwrap_or_default();
        // Symbolic links are resolved once, here. Later no link is followed, so the directory that is opened is the one that was granted.
        for directory in &mut wanted.filesystem {
            directory.path = real(&directory.path);
        }
        // A manifest that was read from a file names no such variable; one that a host made in code may.
        wanted.env.retain(|name| {
            let is_secret = name.starts_with(SECRET_VARIABLE);
            if is_secret {
                let (instead, by) = (String::new(), HOST.to_owned());
                refused.push(Refusal { key: "permissions.env", wanted: name.clone(), instead, by });
            }
            !is_secret
        });
        let permissions = match &self.permissions {
            Some(ceiling) => intersect(wanted, ceiling, &self.shown(), &mut refused),
            None => wanted,
        };
        let (ceilings, defaults) = if is_component {
            (Self::CEILINGS, Self::DEFAULTS)
        } else {
            (Self::worker_ceilings(), Self::worker_defaults())
        };
        let (ceilings, asked) = (self.limits.clone().or(&ceilings), manifest.limits.clone().or(&defaults));
        let decided = Decided::of(self, manifest, &asked);
        for (((_, wanted), (_, most)), &key) in manifest.limits.each().zip(ceilings.each()).zip(Limits::KEYS) {
            if let (Some(wanted), Some(most)) = (wanted, most)
                && wanted > most
            {
                let by = if decided.has_limit(key) { self.shown() } else { HOST.to_owned() };
                refused.push(Refusal { key, wanted: wanted.to_string(), instead: most.to_string(), by });
            }
        }
        let limits = asked.tightest(&ceilings);
        let enforce = manifest.enforce || self.enforce && (confined || asks_for_limits);
        let passed = manifest.python().map_or(&[][..], |python| &python.pass_env);
        let pass_env =
            if confined { self.none_passed(passed, &mut refused) } else { self.passed(passed, &mut refused) };
        Granted { confined, permissions, pass_env, limits, enforce, refused, decided }
    }

    /// A plugin that the policy confines is passed nothing. (A manifest with `permissions` has no `pass_env`.)
    fn none_passed(&self, wanted: &[String], refused: &mut Vec<Refusal>) -> Vec<String> {
        let by = format!("{} with `confine`", self.shown());
        let refusal = |pattern: &String| {
            let (wanted, instead, by) = (pattern.clone(), String::new(), by.clone());
            Refusal { key: "pass_env", wanted, instead, by }
        };
        refused.extend(wanted.iter().map(refusal));
        Vec::new()
    }

    /// The variables of `pass_env` that the policy allows: those that its own `env` names and that match one of the patterns.
    fn passed(&self, wanted: &[String], refused: &mut Vec<Refusal>) -> Vec<String> {
        let Some(ceiling) = &self.permissions else { return wanted.to_vec() };
        for pattern in wanted.iter().filter(|pattern| !ceiling.env.contains(pattern)) {
            let within: Vec<&str> =
                ceiling.env.iter().filter(|name| matches_pattern(pattern, name)).map(String::as_str).collect();
            let (instead, by) = (within.join(", "), self.shown());
            refused.push(Refusal { key: "pass_env", wanted: pattern.clone(), instead, by });
        }
        ceiling.env.iter().filter(|name| wanted.iter().any(|pattern| matches_pattern(pattern, name))).cloned().collect()
    }
}

/// Whether a name matches a pattern, in which `*` stands for any characters.
#[must_use]
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(first) else { return false };
    let mut parts = rest.split('*');
    let last = parts.next_back().unwrap_or_default();
    for part in parts {
        // The earliest match leaves the most text for the rest of the pattern.
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    left.ends_with(last)
}

/// The permissions that are both wanted and allowed by the policy. `by` is the policy's name in messages.
fn intersect(wanted: Permissions, ceiling: &Permissions, by: &str, refused: &mut Vec<Refusal>) -> Permissions {
    let mut refuse = |key: &'static str, wanted: String, instead: String| {
        refused.push(Refusal { key, wanted, instead, by: by.to_owned() });
    };
    let mut met = Permissions::default();
    for mut directory in wanted.filesystem {
        let covers = |most: &&FilesystemPermission| directory.path.starts_with(real(&most.path));
        let best = ceiling.filesystem.iter().filter(covers).map(|most| most.mode).max();
        let shown = format!("{} {}", directory.mode.verb(), directory.path.display());
        match best {
            None => refuse("permissions.filesystem", shown, String::new()),
            Some(mode) => {
                if mode < directory.mode {
                    refuse("permissions.filesystem", shown, format!("{} {}", mode.verb(), directory.path.display()));
                    directory.mode = mode;
                }
                met.filesystem.push(directory);
            }
        }
    }
    let most = rules(&ceiling.network);
    for rule in rules(&wanted.network) {
        if rule.is_within(&most) {
            met.network.push(rule.to_string());
            continue;
        }
        let within: Vec<String> =
            most.iter().filter_map(|most| rule.intersection(most)).map(|rule| rule.to_string()).collect();
        refuse("permissions.network", rule.to_string(), within.join(", "));
        met.network.extend(within);
    }
    for name in wanted.env {
        if ceiling.env.contains(&name) {
            met.env.push(name);
        } else {
            refuse("permissions.env", name, String::new());
        }
    }
    for mut secret in wanted.secrets {
        let granted: Vec<&SecretPermission> = ceiling.secrets.iter().filter(|most| most.name == secret.name).collect();
        let all = secret.hosts.clone();
        secret.hosts.retain(|host| granted.iter().any(|most| most.covers(host)));
        if secret.hosts.len() < all.len() {
            refuse("permissions.secrets", format!("{} for {}", secret.name, all.join(", ")), secret.hosts.join(", "));
        }
        if !secret.hosts.is_empty() {
            met.secrets.push(secret);
        }
    }
    for (key, wanted, most, met) in [
        ("permissions.private_network", wanted.private_network, ceiling.private_network, &mut met.private_network),
        ("permissions.clocks", wanted.clocks, ceiling.clocks, &mut met.clocks),
        ("permissions.random", wanted.random, ceiling.random, &mut met.random),
        ("permissions.blob_files", wanted.blob_files, ceiling.blob_files, &mut met.blob_files),
    ] {
        *met = wanted && most;
        if wanted && !most {
            refuse(key, "true".to_owned(), String::new());
        }
    }
    met
}

/// The path without symbolic links. If the path does not exist, its existing part is resolved and the rest is kept. Blocks on the
/// file system.
#[must_use]
pub fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        // A path that ends in `..` and does not exist has no meaning.
        (Some(_), None) => PathBuf::new(),
        _ => path.to_owned(),
    }
}

impl FilesystemMode {
    /// What it allows a plugin to do.
    #[must_use]
    pub fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "read and write",
        }
    }
}

impl SecretPermission {
    /// Whether the secret may be sent to this host: a name, an address, or a pattern that one of the secret's own patterns covers.
    #[must_use]
    pub fn covers(&self, host: &str) -> bool {
        let rule = |host: &str| format!("https://{host}").parse::<NetworkRule>();
        let own: Vec<NetworkRule> = self.hosts.iter().filter_map(|host| rule(host).ok()).collect();
        rule(host).is_ok_and(|host| host.is_within(&own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(rest: &str) -> Manifest {
        let text = format!(r#"{{"name": "p", "version": "1", "component": "p.wasm", {rest}}}"#);
        Manifest::parse(&text, Path::new("/m/p.json")).unwrap()
    }

    fn policy(text: &str) -> HostPolicy {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn without_a_policy_a_manifest_gets_what_it_declares_within_the_ceilings() {
        let granted = HostPolicy::default().grant(&manifest(
            r#""permissions": {"env": ["LANG"], "clocks": true}, "limits": {"memory_mb": 100000, "call_ms": 5}"#,
        ));
        assert!(granted.confined && granted.permissions.clocks);
        assert_eq!(granted.permissions.env, ["LANG"]);
        assert_eq!((granted.limits.memory_mb, granted.limits.call_ms), (Some(4096), Some(5)));
        assert_eq!(granted.limits.blobs, Some(1024));
        let [refusal] = granted.refused.as_slice() else { panic!("{:?}", granted.refused) };
        assert_eq!((refusal.key, refusal.instead.as_str()), ("limits.memory_mb", "4096"));
    }

    #[test]
    fn a_policy_narrows_each_permission_and_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::create_dir_all(&outside).unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        let wanted = manifest(&format!(
            r#""permissions": {{"filesystem": [
                {{"path": "{0}/a", "guest": "/a", "mode": "write"}}, {{"path": "{0}/link/b", "guest": "/b"}},
                {{"path": "{0}/none/../../out", "guest": "/c"}}],
              "network": ["https://*.example.com", "https://other.org", "https://a.good.net"], "env": ["A", "B"], "random": true,
              "secrets": [{{"name": "KEY", "header": "X-Key", "hosts": ["api.example.com", "evil.org"]}}]}}"#,
            inside.display()
        ));
        let granted = policy(&format!(
            r#"{{"permissions": {{"filesystem": [{{"path": "{}", "guest": "/"}}],
              "network": ["https://api.example.com", "https://*.good.net"], "env": ["B"],
              "secrets": [{{"name": "KEY", "header": "X", "hosts": ["*.example.com"]}}]}}, "limits": {{"memory_mb": 10}}}}"#,
            inside.display()
        ))
        .grant(&wanted);
        let [directory] = granted.permissions.filesystem.as_slice() else { panic!("{granted:?}") };
        assert_eq!((directory.guest.as_str(), directory.mode), ("/a", FilesystemMode::Read));
        assert_eq!(granted.permissions.network, ["https://api.example.com", "https://a.good.net"]);
        assert_eq!(granted.permissions.env, ["B"]);
        assert_eq!(granted.permissions.secrets[0].hosts, ["api.example.com"]);
        assert!(!granted.permissions.random);
        assert_eq!(granted.limits.memory_mb, Some(10));
        let keys: Vec<&str> = granted.refused.iter().map(|refusal| refusal.key).collect();
        let expected = ["filesystem", "filesystem", "filesystem", "network", "network", "env", "secrets", "random"];
        assert_eq!(keys, expected.map(|key| format!("permissions.{key}")));
    }

    #[test]
    fn the_variables_of_the_hosts_secrets_are_never_granted() {
        let mut wanted = manifest(r#""permissions": {"env": ["LANG"]}"#);
        wanted.permissions.as_mut().unwrap().env.push("BIVIUM_SECRET_KEY".to_owned());
        let all = policy(r#"{"permissions": {"env": ["LANG", "BIVIUM_SECRET_KEY"]}}"#);
        for policy in [HostPolicy::default(), all] {
            let granted = policy.grant(&wanted);
            assert_eq!(granted.permissions.env, ["LANG"]);
            assert_eq!(granted.refused[0].wanted, "BIVIUM_SECRET_KEY");
        }
    }

    #[test]
    fn a_python_plugin_is_trusted_unless_somebody_says_otherwise() {
        let text = r#"{"name": "p", "version": "1", "module": "p", "class": "P"}"#;
        let manifest = Manifest::parse(text, Path::new("/m/p.json")).unwrap();
        let granted = HostPolicy::default().grant(&manifest);
        assert!(!granted.confined && !granted.enforce);
        assert_eq!(granted.limits, HostPolicy::worker_defaults());
        let more = r#"{"name": "p", "version": "1", "module": "p", "class": "P", "limits": {"cache_mb": 1000000}}"#;
        let more = HostPolicy::default().grant(&Manifest::parse(more, Path::new("/m/p.json")).unwrap());
        assert_eq!((more.limits.cache_mb, more.refused.len()), (HostPolicy::worker_ceilings().cache_mb, 1));
        let granted = HostPolicy::deny_all().grant(&manifest);
        assert!(granted.confined && granted.enforce);
    }

    #[test]
    fn a_policy_file_that_is_wrong_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("policy.json");
        let error = HostPolicy::read(&path).unwrap_err();
        assert_eq!(error.code(), crate::ErrorCode::NotFound);
        for (text, says) in [
            (r#"{"permissions": {"network": ["example.com"]}}"#, "line 1: permissions.network[0] must be an origin"),
            (
                "{\"permissions\":\n{\"network\": [\n\"ftp://a.example\"]}}",
                "line 3: permissions.network.0: \"ftp://a.example\" allows nothing: ",
            ),
            (r#"{"permision": {}}"#, "unknown key \"permision\"; did you mean `permissions`?"),
            (r#"{"permision": {}, "limits": {"fuel": 1e99}}"#, "limits.fuel must be a whole number"),
            ("{\"limits\":\n{\"fuel\": -1}}", "line 2: limits.fuel must be at least 1, not -1"),
            ("{\"limits\":\n{\"call_ms\": 0}}", "line 2: limits.call_ms must be from 1 to 2592000000, not 0"),
            ("{\"limits\":\n{\"memory_mb\": 0}}", "line 2: limits.memory_mb must be from 1 to 16777216, not 0"),
            ("{\"limits\":\n{\"blobs\": -7}}", "line 2: limits.blobs must be from 0 to 1000000, not -7"),
            ("{", "line 1: this is not JSON"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = HostPolicy::read(&path).unwrap_err();
            assert_eq!(error.code(), crate::ErrorCode::InvalidConfig);
            assert!(error.to_string().contains(says), "{error}");
        }
        let text = r#"{"permissions": {"filesystem": [{"path": "data", "guest": "/"}]}, "limits": {"connections": 0}}"#;
        std::fs::write(&path, text).unwrap();
        let policy = HostPolicy::read(&path).unwrap();
        assert_eq!(policy.limits.connections, Some(0));
        assert_eq!(policy.permissions.unwrap().filesystem[0].path, dir.path().join("data"));
    }

    #[test]
    fn a_trusted_plugin_gets_what_pass_env_names_within_the_policy() {
        let read = |text: &str| {
            let text = format!(r#"{{"name": "p", "version": "1", "module": "m", "class": "C", {text}}}"#);
            Manifest::parse(&text, std::path::Path::new("/m/p.json")).unwrap()
        };
        let wanted = read(r#""pass_env": ["MY_*", "OTHER", "*"]"#);
        assert_eq!(HostPolicy::default().grant(&wanted).pass_env, ["MY_*", "OTHER", "*"]);
        let narrow = policy(r#"{"permissions": {"env": ["MY_KEY", "THIRD"]}}"#);
        let granted = narrow.grant(&read(r#""pass_env": ["MY_*", "OTHER"]"#));
        assert_eq!(granted.pass_env, ["MY_KEY"]);
        let told: Vec<_> = granted.refused.iter().map(|refusal| (&*refusal.wanted, &*refusal.instead)).collect();
        assert_eq!(told, [("MY_*", "MY_KEY"), ("OTHER", "")]);
        let confined = policy(r#"{"confine": true}"#).grant(&wanted);
        assert!(confined.pass_env.is_empty(), "what is confined is passed nothing");
        let told: Vec<String> = confined.refused.iter().map(ToString::to_string).collect();
        assert_eq!(told[0], "the host's policy with `confine` does not grant MY_* (pass_env)");
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is_meant) in [
            ("A", "A", true),
            ("A", "AB", false),
            ("A*", "A", true),
            ("A*", "BA", false),
            ("*_THREADS", "OMP_THREADS", true),
            ("A*C*", "ABCD", true),
            ("A*A", "A", false),
            ("*B*B*", "AB", false),
            ("*", "", true),
        ] {
            assert_eq!(matches_pattern(pattern, name), is_meant, "{pattern} {name}");
        }
    }
}
