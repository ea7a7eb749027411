//! Checks how the keys of a manifest fit together.

use std::collections::HashSet;

use serde_json::Value;

use super::extension::ManifestExtension;
use super::forms::Forms;
use super::node::{Entry, Kind, Node};
use super::problems::{Problems, quoted};
use super::requirement::{fault_of_versions, requirement_fault};
use super::runtime::RuntimeKind;
use super::schema;
use crate::network::NetworkRule;
use crate::variables::SECRET_VARIABLE;

/// The plugin's runtime. Reports everything that contradicts it; `None` if the runtime is not clear.
pub(super) fn check(root: &Node, forms: &Forms, problems: &mut Problems) -> Option<RuntimeKind> {
    if !matches!(root.kind, Kind::Object(_)) {
        return None;
    }
    let runtime = runtime(root, problems);
    if let Some(runtime) = runtime {
        other_runtime(root, forms, runtime, problems);
    }
    if let (Some(_), Some(requirements)) = (root.get("python_path"), root.get("requirements")) {
        let message = "requirements contradicts python_path: keep python_path for an environment that exists, or \
                       requirements for one that the host makes";
        problems.add(requirements.line, message);
    }
    function(root, problems);
    environment(root, problems);
    guests(root, problems);
    pass_env(root, problems);
    network(root, problems);
    secrets(root, problems);
    for extension in forms.extensions() {
        extension.check(root, problems);
    }
    runtime
}

fn runtime(root: &Node, problems: &mut Problems) -> Option<RuntimeKind> {
    let [component, module, class, function] = ["component", "module", "class", "function"].map(|key| root.get(key));
    let mut needs = |runtime: RuntimeKind, line| {
        let wanted: &[_] = match runtime {
            RuntimeKind::Wasm => &[("component", component)],
            RuntimeKind::Python if function.is_some() => &[],
            RuntimeKind::Python => &[("module", module), ("class", class)],
        };
        for (key, _) in wanted.iter().filter(|(_, entry)| entry.is_none()) {
            let cure = match *key {
                "class" => "; for a function write `\"function\": \"MODULE:NAME\"` in place of module and class",
                _ => "",
            };
            problems.add(line, format!("{key} is missing, which every {} plugin must have{cure}", runtime.as_str()));
        }
        Some(runtime)
    };
    if let Some(given) = root.get("runtime") {
        let named = [RuntimeKind::Wasm, RuntimeKind::Python]
            .into_iter()
            .find(|one| given.value.as_str() == Some(one.as_str()))?;
        return needs(named, given.value.line);
    }
    match (component, module.or(class).or(function)) {
        (Some(_), Some(other)) => {
            let message =
                format!("{} contradicts component: a plugin is a component, or a Python class or function", other.key);
            problems.add(other.line, message);
            None
        }
        (Some(_), None) => Some(RuntimeKind::Wasm),
        (None, Some(first)) => needs(RuntimeKind::Python, first.line),
        (None, None) => {
            let message =
                "nothing says what to run: give component (a .wasm file), or module and class, or function (in Python)";
            problems.add(root.line, message);
            None
        }
    }
}

/// Reports keys that only plugins of the other runtime have.
fn other_runtime(root: &Node, forms: &Forms, runtime: RuntimeKind, problems: &mut Problems) {
    let schema = forms.schema();
    let extensions: Vec<&str> = forms.extensions().map(ManifestExtension::key).collect();
    let (here, there) = match runtime {
        RuntimeKind::Wasm => ("a component", "Python plugins"),
        RuntimeKind::Python => ("a Python plugin", "components"),
    };
    let mut check = |entries: &[Entry], schema: &Value, within: &str| {
        // Of an extension its keys are named, which the file may have at its top.
        let given =
            |entry: &&Entry| !matches!(entry.value.kind, Kind::Null) && !extensions.contains(&entry.key.as_str());
        for entry in entries.iter().filter(given) {
            let known = schema.get("properties").and_then(|known| known.get(&entry.key)?.get("x-runtime")?.as_str());
            if known.is_some_and(|known| known != runtime.as_str()) {
                let instead = match entry.key.as_str() {
                    "concurrency" | "replicas" => "; instances.max sets how many calls run at once",
                    "env_vars" | "pass_env" => "; permissions.env names the variables that it may see",
                    "instances" => "; replicas sets how many workers it has",
                    _ => "",
                };
                problems.add(entry.line, format!("{within}{} is for {there}, and this is {here}{instead}", entry.key));
            }
        }
    };
    check(root.entries(), schema, "");
    let within = |key| root.get(key).map(|entry| entry.value.entries()).unwrap_or_default();
    for extension in &extensions {
        check(within(*extension), schema, "");
    }
    check(within("limits"), &schema::LIMITS, "limits.");
}

/// Reports keys that a function cannot have: it names its module, has no constructor, and takes no configuration.
fn function(root: &Node, problems: &mut Problems) {
    if root.get("function").is_none() {
        return;
    }
    for (key, why) in [
        ("module", "function names its module itself, as \"module:function\""),
        ("class", "a plugin is a class or a function"),
        ("init_args", "they are for the constructor of a class"),
        ("config_schema", "a function takes no configuration, only the arguments of the call"),
    ] {
        if let Some(entry) = root.get(key) {
            problems.add(entry.line, format!("{key} contradicts function: {why}"));
        }
    }
}

/// Reports requirements that no installer is given, and invalid versions of Python. Texts that do not match the schema's pattern are
/// reported with it.
fn environment(root: &Node, problems: &mut Problems) {
    let is_control = |c: char| c < ' ';
    let requirements = root.get("requirements").map(|entry| entry.value.items()).unwrap_or_default();
    for (n, requirement) in requirements.iter().enumerate() {
        let is_fit = |text: &&str| text.starts_with(|c: char| c.is_ascii_alphanumeric()) && !text.contains(is_control);
        if let Some(text) = requirement.as_str().filter(is_fit)
            && let Some(fault) = requirement_fault(text)
        {
            problems.add(requirement.line, format!("requirements[{n}], {}, {fault}", quoted(text)));
        }
    }
    if let Some(versions) = root.get("requires_python")
        && let Some(text) = versions.value.as_str().filter(|text| text.starts_with(['<', '>', '=', '!', '~']))
        && let Some(fault) = fault_of_versions(text)
    {
        problems
            .add(versions.line, format!("requires_python, {}, {fault}; an example is \">=3.9,<3.14\"", quoted(text)));
    }
}

/// Reports guest paths that occur twice.
fn guests(root: &Node, problems: &mut Problems) {
    let Some(filesystem) = root.get("permissions").and_then(|permissions| permissions.value.get("filesystem")) else {
        return;
    };
    let Kind::Array(directories) = &filesystem.value.kind else { return };
    let mut seen = HashSet::new();
    for guest in directories.iter().filter_map(|directory| directory.get("guest")) {
        if let Some(text) = guest.value.as_str().filter(|text| !seen.insert(*text)) {
            let message =
                format!("permissions.filesystem has {} twice; each guest path stands for one directory", quoted(text));
            problems.add(guest.line, message);
        }
    }
}

/// Reports `pass_env` in a manifest with permissions.
fn pass_env(root: &Node, problems: &mut Problems) {
    if let (Some(names), Some(permissions)) = (root.get("pass_env"), root.get("permissions"))
        && !names.value.items().is_empty()
        && !matches!(permissions.value.kind, Kind::Null)
    {
        let message = "pass_env is for a plugin without permissions, and this manifest has some: name the variables in permissions.env";
        problems.add(names.line, message.to_owned());
    }
}

/// Reports origins that are wrong in a way that the schema's pattern does not check.
fn network(root: &Node, problems: &mut Problems) {
    let Some(permissions) = root.get("permissions") else { return };
    let Some(network) = permissions.value.get("network") else { return };
    let Kind::Array(origins) = &network.value.kind else { return };
    for origin in origins {
        // A text without a scheme is reported with the pattern.
        if let Some(text) = origin.as_str().filter(|text| text.contains("://"))
            && let Err(why) = text.parse::<NetworkRule>()
        {
            problems.add(origin.line, format!("permissions.network has {}, which allows nothing: {why}", quoted(text)));
        }
    }
}

/// Reports names of variables that hold secrets of the program `bivium`: a manifest must not name them anywhere.
fn secrets(root: &Node, problems: &mut Problems) {
    let within = |object: &str, key: &str| Some(&root.get(object)?.value.get(key)?.value);
    for name in within("permissions", "env").map(Node::items).unwrap_or_default() {
        refuse_secret_variable("permissions.env", name.as_str(), name.line, problems);
    }
    for entry in root.get("env_vars").map(|entry| entry.value.entries()).unwrap_or_default() {
        refuse_secret_variable("env_vars", Some(&entry.key), entry.line, problems);
    }
    for name in root.get("pass_env").map(|entry| entry.value.items()).unwrap_or_default() {
        refuse_secret_variable("pass_env", name.as_str(), name.line, problems);
    }
}

/// Notes that a key names a variable in which the program `bivium` is given a secret, if it does.
pub fn refuse_secret_variable(key: &str, name: Option<&str>, line: usize, problems: &mut Problems) {
    if let Some(name) = name.filter(|name| name.starts_with(SECRET_VARIABLE)) {
        let message = format!(
            "{key} names {}, and variables that begin with {SECRET_VARIABLE} hold the host's secrets: ask for a secret \
             with permissions.secrets",
            quoted(name)
        );
        problems.add(line, message);
    }
}
