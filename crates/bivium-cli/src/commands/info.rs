//! `bivium info`: what a plugin is, what it may do and how it is called.
//!
//! It helps to judge a plugin before it is trusted. Without `--load`, it shows what the plugin's files say, and runs neither the
//! plugin's code nor an interpreter that it names. With `--load`, it also asks the plugin; if the plugin does not load, the rest
//! is shown, with the reason.

use std::sync::Arc;

use bivium::cjm::CjmManifest;
use bivium::manifest::{Limits, Permissions, PythonKind, PythonObject, RuntimeKind};
use bivium::{
    Call, CallHandle, ErrorCode, Granted, Import, Inspection, KeptEnvironment, Manifest, MethodInfo, PluginError,
    Result, environments_for,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::kept::{self, size};
use super::method_help::{MethodHelp, parameters};
use crate::args::{Global, Info};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Output, on_one_line};

/// What a plugin may do.
struct Rights {
    granted: Granted,
    /// The restrictions that this machine cannot enforce.
    not_held: Vec<String>,
}

/// The environments that were made for a plugin's requirements; `None` if the host makes none for it.
type Environments = Option<Vec<KeptEnvironment>>;

/// What is known about a plugin beside its manifest.
#[derive(Default)]
struct Known {
    /// From its files.
    inspection: Option<Inspection>,
    /// From the loaded plugin, or why it did not load.
    loaded: Option<Result<Loaded>>,
}

impl Known {
    fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()?.as_ref().ok()
    }

    /// Its methods, from the loaded plugin or else from its files.
    fn methods(&self) -> Option<&[MethodInfo]> {
        let inspected = || self.inspection.as_ref()?.methods.as_deref();
        self.loaded().map(|loaded| loaded.methods.as_slice()).or_else(inspected)
    }

    /// Why the plugin does not load, as far as is known: the error of loading it, or a problem in its files.
    fn problem(&self) -> Option<&PluginError> {
        match &self.loaded {
            Some(loaded) => loaded.as_ref().err(),
            None => self.inspection.as_ref()?.problem.as_ref(),
        }
    }
}

/// What only the loaded plugin knows.
struct Loaded {
    methods: Vec<MethodInfo>,
    schema: Value,
    config: Value,
}

pub(super) async fn info(global: &Global, output: &Output, args: &Info) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, &args.named)?;
    let manifest = host.manager.manifest(&name)?;
    let mut refusals = host.manager.refusals(&name)?;
    let enabled = host.manager.is_enabled(&name).map_err(|error| refusals.push(error)).ok();
    let rights = Rights { granted: host.manager.granted(&name)?, not_held: host.manager.not_held(&name)? };
    let mut lacking = block_in_place(|| host.manager.call_refusal(&name))?;
    let environments = environments(global, &manifest, &rights, args)?;
    let known = if args.no_load { Known::default() } else { look(host, &name, args.load).await? };
    // A plugin that would not load cannot be called.
    let loads = refusals.is_empty() && known.problem().is_none();
    let help = MethodHelp::new(global, &args.named.plugin, manifest.runtime.kind(), loads);
    if output.is_json() {
        let mut info = as_json(&manifest, &rights, enabled, &known, &help);
        refusals.extend(lacking);
        if let (Value::Object(info), false) = (&mut info, refusals.is_empty()) {
            info.insert("refusals".to_owned(), json!(refusals));
        }
        if let (Some(info), Some(made)) = (info.as_object_mut(), &environments) {
            info.insert("environments".to_owned(), made.iter().map(kept::as_json).collect());
        }
        return output.value(&info);
    }
    output.line(&as_text(&manifest, &rights, enabled, &known, &help, environments))?;
    if let Some(Err(_)) = known.loaded {
        // The reason why it did not load already says the first refusal.
        refusals.clear();
        lacking = None;
    }
    refusals.iter().chain(&lacking).chain(known.problem()).for_each(|error| output.warning(error));
    if known.loaded.is_none() && known.inspection.is_some() {
        output.hint("None of its code has run. --load starts it and asks it for its methods and its configuration.");
    }
    Ok(())
}

/// The environments that exist for the requirements. Makes and runs nothing.
fn environments(global: &Global, manifest: &Manifest, rights: &Rights, args: &Info) -> Result<Environments, Failure> {
    match manifest.requirements() {
        Some(requirements) if !args.no_load => {
            let made = environments_for(requirements, rights.granted.confined, global.environments.as_deref())?;
            Ok(Some(made))
        }
        _ => Ok(None),
    }
}

/// An environment and its state, as text.
fn environment(made: &KeptEnvironment) -> String {
    let python = made.python.as_ref().map_or_else(String::new, |path| format!(", made with {}", path.display()));
    let state = if made.is_ready { "" } else { ", damaged: it is made again at the next load" };
    format!("{} ({}{python}{state})", made.path.display(), size(made.bytes))
}

/// Reads the plugin's files and, with `load`, asks the plugin. If it does not start, that is part of the result; a signal is an
/// error.
async fn look(host: Host, name: &str, load: bool) -> Result<Known, Failure> {
    let look = async |host: &Host| {
        let call = Call::new().cancellation(host.stop.clone()).handle().clone();
        let inspection = Some(call.guard(host.manager.inspect(name)).await?);
        if !load {
            return Ok(Known { inspection, loaded: None });
        }
        match ask(host, name, &call).await {
            Err(error) if error.code() == ErrorCode::Cancelled => Err(error.into()),
            loaded => Ok(Known { inspection, loaded: Some(loaded) }),
        }
    };
    host.scope(look).await
}

async fn ask(host: &Host, name: &str, call: &CallHandle) -> Result<Loaded> {
    host.load(name, None, call).await?;
    let methods = call.guard(host.manager.methods(name)).await?;
    Ok(Loaded { methods, schema: host.manager.config_schema(name)?, config: host.manager.config(name)? })
}

fn as_json(
    manifest: &Arc<Manifest>,
    rights: &Rights,
    enabled: Option<bool>,
    known: &Known,
    help: &MethodHelp<'_>,
) -> Value {
    let Rights { granted, not_held } = rights;
    let mut info = json!({"manifest": **manifest, "path": manifest.path.display().to_string(), "enabled": enabled,
        "confined": granted.confined, "granted": granted, "not_held": not_held, "loaded": known.loaded.is_some()});
    let adapters = CjmManifest::of(manifest).into_iter().flat_map(|own| &own.adapters);
    let tasks: Vec<_> = adapters.map(|adapter| json!({"task": adapter.task_name, "adapter": adapter.name})).collect();
    if let (Value::Object(info), false) = (&mut info, tasks.is_empty()) {
        info.insert("tasks".to_owned(), tasks.into());
    }
    let mut more = json!(known.inspection.as_ref());
    if let Some(more) = more.as_object_mut() {
        more.extend(manifest.config_schema.iter().map(|schema| ("config_schema".to_owned(), schema.clone())));
        more.extend(known.methods().map(|methods| ("methods".to_owned(), help.as_json(methods))));
        if let Some(loaded) = known.loaded() {
            // The loaded plugin knows these.
            more.remove("notes");
            more.insert("config_schema".to_owned(), loaded.schema.clone());
            more.insert("config".to_owned(), loaded.config.clone());
        }
        more.remove("problem");
        more.extend(known.problem().map(|problem| ("problem".to_owned(), json!(problem))));
    }
    if let (Value::Object(info), Value::Object(more)) = (&mut info, more) {
        info.extend(more);
    }
    info
}

fn as_text(
    manifest: &Manifest,
    rights: &Rights,
    enabled: Option<bool>,
    known: &Known,
    help: &MethodHelp<'_>,
    environments: Environments,
) -> String {
    let mut text = Text(vec![format!("{} {}", manifest.name, manifest.version)]);
    if !manifest.description.is_empty() {
        text.0.push(on_one_line(&manifest.description));
    }
    text.item("category", manifest.category.clone());
    text.item("runtime", Some(manifest.runtime.kind().as_str().to_owned()));
    let part =
        |wanted: &str| manifest.parts().find(|(key, _)| *key == wanted).map(|(_, path)| path.display().to_string());
    text.item("component", part("component"));
    if let Some(PythonObject { module, name, kind, .. }) = manifest.python().map(|python| &python.object) {
        let what = match kind {
            PythonKind::Class => "class",
            PythonKind::Function => "function",
            PythonKind::Either => "object",
        };
        text.item(what, Some(format!("{name} in {module}")));
    }
    if let Some(python) = manifest.python().filter(|python| !python.init_args.is_empty()) {
        let arguments = python.init_args.iter().map(|(name, value)| format!("{name}={value}"));
        text.item("init_args", Some(arguments.collect::<Vec<_>>().join(", ")));
    }
    if let Some(Inspection { file: Some(file), .. }) = &known.inspection
        && manifest.python().is_some()
    {
        text.item("file", Some(file.display().to_string()));
    }
    text.item("python", part("python_path"));
    text.item("tasks", tasks(manifest));
    text.item("requirements", manifest.requirements().map(|requirements| requirements.join(", ")));
    match environments {
        Some(made) if made.is_empty() => {
            text.item("environment", Some("not made yet: the first load makes it".to_owned()));
        }
        made => made.iter().flatten().for_each(|made| text.item("environment", Some(environment(made)))),
    }
    // If there is no manifest, the path is that of the plugin's own file.
    let is_bare = manifest.path.extension().is_none_or(|extension| !extension.eq_ignore_ascii_case("json"));
    text.item("manifest", (!is_bare).then(|| manifest.path.display().to_string()));
    text.item("enabled", enabled.map(|enabled| if enabled { "yes" } else { "no" }.to_owned()));
    text.item("needs", Some(needs(manifest)).filter(|needs| !needs.is_empty()));
    text.rights(manifest, rights);
    if let Some(inspection) = &known.inspection {
        text.inspection(help, inspection, known);
    }
    match (known.loaded(), &manifest.config_schema) {
        (Some(loaded), _) => text.settings(&loaded.schema, Some(&loaded.config)),
        (None, Some(schema)) if known.inspection.is_some() => text.settings(schema, None),
        _ => {}
    }
    text.0.join("\n")
}

/// The tasks for which adapters of cjm-plugin-system make methods.
fn tasks(manifest: &Manifest) -> Option<String> {
    let adapters = &CjmManifest::of(manifest)?.adapters;
    let shown = adapters.iter().map(|adapter| format!("{} by {}", adapter.task_name, adapter.class));
    (!adapters.is_empty()).then(|| shown.collect::<Vec<_>>().join(", "))
}

fn needs(manifest: &Manifest) -> String {
    let resources = &manifest.resources;
    let mib = |mb: Option<u64>, what: &str| mb.map(|mb| format!("{mb} MiB of {what}"));
    let needs = [
        match resources.gpus() {
            0 => None,
            1 => Some("a GPU".to_owned()),
            gpus => Some(format!("{gpus} GPUs")),
        },
        mib(resources.min_gpu_vram_mb, if resources.gpus() > 1 { "memory of each GPU" } else { "GPU memory" }),
        mib(resources.min_system_ram_mb, "host memory"),
        resources.cpu_slots.map(|slots| format!("{slots} processor slots")),
        (!resources.platforms.is_empty()).then(|| resources.platforms.join(" or ")),
    ];
    needs.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What the permissions allow a plugin to do.
fn listed(permissions: &Permissions, runtime: RuntimeKind) -> String {
    let mut all: Vec<String> = Vec::new();
    for directory in &permissions.filesystem {
        // A worker process sees the host's paths.
        let seen = if runtime == RuntimeKind::Wasm { format!(" as {}", directory.guest) } else { String::new() };
        all.push(format!("{} {}{seen}", directory.mode.verb(), directory.path.display()));
    }
    all.extend(permissions.network.iter().map(|origin| format!("connect to {origin}")));
    all.extend(permissions.env.iter().map(|name| format!("see ${name}")));
    let secrets = permissions.secrets.iter();
    all.extend(secrets.map(|secret| format!("use the secret {} at {}", secret.name, secret.hosts.join(", "))));
    for (has, what) in [
        (permissions.private_network, "connect to names that resolve to private addresses"),
        (permissions.clocks, "read clocks"),
        (permissions.random, "get random numbers"),
        (permissions.blob_files, "see blobs as files"),
    ] {
        all.extend(has.then(|| what.to_owned()));
    }
    if all.is_empty() { "none".to_owned() } else { all.join("; ") }
}

fn each(limits: &Limits) -> impl Iterator<Item = (&'static str, u64)> {
    limits.each().filter_map(|(key, limit)| Some((key, limit?)))
}

/// An import, and whether it is granted.
fn import(import: &Import) -> String {
    let Some(permission) = &import.permission else { return format!("  {}", import.name) };
    let how = match (permission.granted, permission.asked) {
        (true, _) => "granted",
        (false, true) => "asked for, but not granted",
        (false, false) => "not asked for, so nothing is granted",
    };
    format!("  {:<40} {} {how}", import.name, permission.key)
}

/// The lines of the text output.
struct Text(Vec<String>);

impl Text {
    fn item(&mut self, label: &str, value: Option<String>) {
        self.0.extend(value.map(|value| format!("  {label:<13} {}", on_one_line(&value)).trim_end().to_owned()));
    }

    /// What the manifest asks for, what is granted, what is not granted, and which restrictions this machine cannot enforce.
    fn rights(&mut self, manifest: &Manifest, Rights { granted, not_held }: &Rights) {
        let declared = match &manifest.permissions {
            Some(permissions) => listed(permissions, manifest.runtime.kind()),
            None if granted.confined => "none".to_owned(),
            None => "unconfined: it may do everything that you may".to_owned(),
        };
        self.item("permissions", Some(declared));
        if granted.confined && manifest.permissions.is_some() {
            let complete = !granted.refused.iter().any(|refusal| refusal.key.starts_with("permissions."));
            let all =
                if complete { "all of it".to_owned() } else { listed(&granted.permissions, manifest.runtime.kind()) };
            self.item("granted", Some(all));
        }
        for refusal in &granted.refused {
            self.item("missing", Some(refusal.to_string()));
        }
        let limits: Vec<String> = each(&granted.limits).map(|(key, limit)| format!("{key} {limit}")).collect();
        self.item("limits", Some(limits.join(", ")).filter(|limits| !limits.is_empty()));
        for what in not_held {
            self.item("not held", Some(what.clone()));
        }
    }

    /// What the plugin's files say, and its methods.
    fn inspection(&mut self, help: &MethodHelp<'_>, inspection: &Inspection, known: &Known) {
        // About a loaded plugin everything is known.
        for note in inspection.notes.iter().filter(|_| known.loaded().is_none()) {
            self.item("note", Some(note.clone()));
        }
        if let Some(methods) = known.methods() {
            self.methods(help, methods);
        }
        if !inspection.imports.is_empty() {
            self.0.push("Imports:".to_owned());
            self.0.extend(inspection.imports.iter().map(import));
        }
        if known.methods().is_none() && !inspection.exports.is_empty() {
            self.0.push("Exports:".to_owned());
            self.0.extend(inspection.exports.iter().map(|name| format!("  {name}")));
        }
    }

    /// Each method: its name with its signature, what it does, what it takes, and how it is called.
    fn methods(&mut self, help: &MethodHelp<'_>, methods: &[MethodInfo]) {
        self.0.push("Methods:".to_owned());
        for method in help.all(methods) {
            let (signature, description) = (on_one_line(&method.signature), on_one_line(&method.description));
            if let Some(why) = &method.not_callable {
                self.item(&on_one_line(&method.name), Some(format!("not callable: {}", on_one_line(why))));
                continue;
            }
            let streams = if method.streams { " (streams)" } else { "" };
            let first = if signature.is_empty() { description.clone() } else { signature.clone() };
            self.item(&on_one_line(&method.name), Some(format!("{first}{streams}")));
            if !signature.is_empty() && !description.is_empty() {
                self.0.push(format!("    {description}"));
            }
            self.0
                .extend(parameters(&method).into_iter().flatten().map(|parameter| format!("    {}", parameter.line())));
            self.0.extend(help.command_lines(&method).iter().map(|line| format!("    $ {line}")));
        }
    }

    /// The settings in the schema, with the current values or, if the plugin is not loaded, the defaults.
    fn settings(&mut self, schema: &Value, config: Option<&Value>) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let Some(properties) = properties.filter(|properties| !properties.is_empty()) else { return };
        self.0.push("Configuration:".to_owned());
        for (name, property) in properties {
            let value = match config {
                Some(config) => config.get(name).map_or_else(|| "(not set)".to_owned(), Value::to_string),
                None => property.get("default").map_or_else(|| "(no default)".to_owned(), Value::to_string),
            };
            let description = property.get("description").and_then(Value::as_str).unwrap_or_default();
            self.item(&on_one_line(name), Some(format!("{value}  {description}")));
        }
    }
}
