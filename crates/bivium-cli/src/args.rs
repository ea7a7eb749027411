//! The command line as clap reads it. Its help texts are the program's manual.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use bivium_interface::exact::{self, Unread};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::arguments::Assignment;
use crate::secrets::Secrets;
use crate::settings::Setting;

const EXAMPLES: &str = "\
Examples (in a clone of the repository, after `cargo xtask guests`, with BIVIUM_MANIFESTS=examples/plugins):
  bivium list  # the plugins that are found
  bivium info redact  # what a plugin is, what it may do, how it is called
  bivium run redact text='call 555-0100'  # call a plugin; its result is JSON on standard output
  bivium stream wordcount text='one line'  # results as they come, one line of JSON each
  bivium run examples/plugins/wordcount/wordcount.json text=hello  # a plugin, by the path of its manifest
  bivium run examples/plugins/target/guests/redact.wasm text=hello  # a component without a manifest
  bivium pipeline run examples/pipelines/transcribe/pipeline.json --out captions  # several plugins in a row

Secrets:
  The environment variable BIVIUM_SECRET_NAME is the secret NAME, for plugins whose manifests ask for that secret.

Exit status:
  0 success, 1 the plugin failed, 2 wrong usage, 3 not found, 4 invalid manifest, configuration or input, 5 denied,
  6 resource exhausted, 7 unavailable, crashed or interrupted, 124 timed out, 130 cancelled";

const FILES: &str = "\
Files:
  key@=PATH passes a file without copying it; its media type is taken from the file's extension. In JSON,
  {\"$blob\": {\"path\": \"speech.wav\"}} stands for a file, as it does in results; write $$blob for a literal key $blob.";

const RUN_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium run redact text='call 555-0100' --config mask='*'
  bivium run image-thumb image@=examples/plugins/image-thumb/photo.png max_side:=64 --out thumbs
  bivium run wordcount --arg '\"a b a\"'
  bivium run examples/plugins/wordcount/wordcount.py:WordCount text='a b a'
  echo '{\"text\": \"hello\"}' | bivium run redact --json -";

const STREAM_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium stream wordcount text=\"$(cat README.md)\"
  bivium stream audio-prep audio@=examples/pipelines/transcribe/speech.wav --out segments --timeout 60";

const PIPELINE_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium pipeline run examples/pipelines/transcribe/pipeline.json --out out";

const COMPILE_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium compile redact
  bivium compile examples/plugins/target/guests/redact.wasm --cache cache

Compiled components are stored in the subdirectory `components` of the cache, which only you can enter. Later runs use
them from there; a component that is not in the cache is compiled when it is loaded. Each component is compiled in a
separate process, within its `limits.component_mb` and `limits.compile_s`.";

const LOGS_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium logs wordcount -f
  bivium logs redact -n 20 --level warn --output json

A record has a time (UTC), a level, a source (log, stdout, stderr, or host for messages of Bivium about the plugin), the
worker's process id or the instance's number, and the call. Records are stored in the data directory, at most 32 MiB for
each plugin.";

const CONFIG_EXAMPLE: &str = "\
Example (with the plugins of `bivium --help`):
  bivium config set redact mask='*' patterns:='[{\"name\": \"number\", \"regex\": \"[0-9]+\"}]'";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(bivium completions bash)  # for this shell; write it into ~/.bashrc for every shell
  bivium completions zsh > _bivium  # into a directory of $fpath
  bivium completions fish > bivium.fish  # into ~/.config/fish/completions";

fn with_files(examples: &str) -> String {
    format!("{examples}\n\n{FILES}")
}

/// Runs plugins: WebAssembly components in a sandbox, and Python classes in separate processes.
#[derive(Debug, Parser)]
#[command(name = "bivium", version, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Look for manifests in DIR, or use this one manifest, in place of ./.bivium/manifests and ~/.bivium/manifests (there, only
    /// files that belong to you or root are read). Can be repeated; the first DIR that has a plugin wins [env: BIVIUM_MANIFESTS, a
    /// list like PATH]. BIVIUM_HOME names one directory for everything: its `manifests` are searched last, and its `data` and
    /// `cache` are the default directories of the options below.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) manifests: Vec<PathBuf>,
    /// Store saved configurations and logs in DIR [env: BIVIUM_DATA_DIR].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Store the environments of Python plugins in DIR [env: BIVIUM_ENVIRONMENTS].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) environments: Option<PathBuf>,
    /// Grant plugins at most what the policy in FILE allows. Without a policy they get all that their manifests ask for
    /// [env: BIVIUM_POLICY].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) policy: Option<PathBuf>,
    /// Append a line of JSON to FILE for each access that a plugin is granted or denied [env: BIVIUM_AUDIT].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) audit: Option<PathBuf>,
    /// Store caches in DIR: compiled components, environments, the worker's program and the caches of libraries that Python plugins
    /// use [env: BIVIUM_CACHE].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) cache: Option<PathBuf>,
    /// Write results and errors as text for people, or each as one line of JSON.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
    /// Log more on standard error; -vv logs still more [env: BIVIUM_LOG, a filter like bivium=debug].
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet", global = true)]
    pub(crate) verbose: u8,
    /// Ask plugins for log records of this level and above, store them for `bivium logs`, and show them on standard error. Without
    /// it, Python plugins log at info and above [env: BIVIUM_PLUGIN_LOG].
    #[arg(long, value_name = "LEVEL", value_enum, global = true)]
    pub(crate) log_level: Option<Level>,
    /// Show errors only: no warnings, no hints, and nothing that plugins print.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show no progress bars on a terminal.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// The directory that BIVIUM_HOME names. It holds `manifests`, and also `data` and `cache` unless other directories are given
    /// for them.
    #[arg(skip)]
    pub(crate) home: Option<PathBuf>,
    /// The value of BIVIUM_PLUGIN_LOG if it is not a level.
    #[arg(skip)]
    pub(crate) wrong_log_level: Option<OsString>,
    /// The secrets that the environment held.
    #[arg(skip)]
    pub(crate) secrets: Secrets,
}

impl Global {
    /// Takes options that the command line does not give from the environment. Clap could do it, but would show the variables'
    /// values in its help texts.
    pub(crate) fn take_environment(&mut self) {
        for (option, variable) in [
            (&mut self.data_dir, "BIVIUM_DATA_DIR"),
            (&mut self.environments, "BIVIUM_ENVIRONMENTS"),
            (&mut self.policy, "BIVIUM_POLICY"),
            (&mut self.audit, "BIVIUM_AUDIT"),
            (&mut self.cache, "BIVIUM_CACHE"),
        ] {
            if option.is_none() {
                *option = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
            }
        }
        let home = std::env::var_os("BIVIUM_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(home) = home {
            self.data_dir.get_or_insert_with(|| home.join("data"));
            self.cache.get_or_insert_with(|| home.join("cache"));
            self.home = Some(home);
        }
        if let Some(cache) = &self.cache {
            self.environments.get_or_insert_with(|| cache.join("environments"));
        }
        if self.log_level.is_none() {
            let asked = std::env::var_os("BIVIUM_PLUGIN_LOG").filter(|level| !level.is_empty());
            match asked.as_deref().map(|level| Level::from_str(&level.to_string_lossy(), true)) {
                Some(Ok(level)) => self.log_level = Some(level),
                Some(Err(_)) => self.wrong_log_level = asked,
                None => {}
            }
        }
    }
}

/// How results and errors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the plugins that are found.
    List(List),
    /// Show what a plugin is, what it may do, its methods and its configuration, as far as its files tell: none of its code runs.
    Info(Info),
    /// Call a plugin and print its result.
    #[command(after_help = with_files(RUN_EXAMPLES))]
    Run(Run),
    /// Call a plugin and print its results as they arrive, one line of JSON each.
    #[command(after_help = with_files(STREAM_EXAMPLES))]
    Stream(Run),
    /// Check manifests, pipelines and policies, and report all problems.
    Validate(Validate),
    /// Show or change a plugin's saved configuration.
    #[command(subcommand)]
    Config(Config),
    /// Load a plugin and show what it uses before its first call: memory, GPU memory, processes, time to start.
    Stats(Named),
    /// Allow calls to a plugin again, from now on.
    Enable(Named),
    /// Refuse calls to a plugin, from now on.
    Disable(Named),
    /// Compile a plugin's component before its first call.
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(Compile),
    /// Show what a plugin printed and logged, in earlier runs and in those that are running.
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(Logs),
    /// Run pipelines: several plugins, one after another.
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Show which plugins of an installation of cjm-plugin-system would be loaded; change nothing.
    ImportCjm(ImportCjm),
    /// Check whether this machine has everything that plugins need.
    Doctor,
    /// Show or empty the caches. Whatever is needed again is made again.
    #[command(subcommand)]
    Cache(Cache),
    /// Show or remove the environments that were made for Python plugins.
    #[command(subcommand)]
    Env(Env),
    /// Print a script for a shell that completes command lines of bivium.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Write the manual pages of all commands.
    #[command(after_help = "Example:\n  bivium man man  # `man -l man/bivium-run.1` shows one of them")]
    Man {
        /// The directory for the pages. It is created if it does not exist.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What to do with the caches.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show what the caches hold, and how large they are.
    List,
    /// Empty the caches, except those of plugins that a running host has loaded.
    Clean(CacheClean),
}

/// Options of `cache clean`.
#[derive(Debug, Args)]
pub(crate) struct CacheClean {
    /// Empty only the caches of the libraries that these plugins use (downloaded models, for example).
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugins: Vec<String>,
}

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Show the environments: their size, when a plugin last used them, and what is installed in them.
    List,
    /// Remove environments that no running host uses. If a plugin needs one later, it is made again.
    Clean(EnvClean),
}

/// Options of `env clean`.
#[derive(Debug, Args)]
pub(crate) struct EnvClean {
    /// Remove only the environments with these keys (see `env list`).
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Remove only environments that no plugin has started to use for this many days.
    #[arg(long, value_name = "DAYS")]
    pub(crate) unused_for: Option<u32>,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// A plugin.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The plugin's name, the path of its manifest, or a plugin without a manifest: a component (FILE.wasm), which gets no permissions,
    /// or a Python class or function (FILE.py:NAME, package.module:NAME), which runs with all your rights, like `python3 FILE.py`.
    #[arg(value_name = "NAME")]
    pub(crate) plugin: String,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// List only plugins of this category.
    #[arg(long)]
    pub(crate) category: Option<String>,
}

/// Options of `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Load the plugin too, and ask it for its methods and its configuration. Its code runs, confined to its permissions if its
    /// manifest has some.
    #[arg(long)]
    pub(crate) load: bool,
    /// Show only what the manifest says.
    #[arg(long, conflicts_with = "load")]
    pub(crate) no_load: bool,
}

/// Options of `run` and `stream`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) named: Named,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    /// Call this method.
    #[arg(long, value_name = "METHOD", default_value = bivium::Call::EXECUTE)]
    pub(crate) method: String,
    /// A positional argument. Can be repeated.
    #[arg(long = "arg", value_name = "JSON", value_parser = json, allow_negative_numbers = true)]
    pub(crate) positional: Vec<Value>,
    /// Change the configuration for this run only: key=value or key:=JSON, where null removes the key. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<Setting>,
    /// Set a control flag in the envelope of the call, for plugins of cjm-plugin-system (force:=true). Can be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) control: Vec<Setting>,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

/// Named arguments of a call or inputs of a pipeline.
#[derive(Debug, Args)]
pub(crate) struct Inputs {
    /// An argument or input: key=value for a string, key:=JSON for any JSON value, key@=PATH for a file.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) assignments: Vec<Assignment>,
    /// Read named arguments from a JSON object in FILE (- for standard input). Those on the command line are added to them.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// How long the command may take.
#[derive(Debug, Args)]
pub(crate) struct Timeout {
    /// Stop after this many seconds. Loading counts too.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
}

/// Where files of results are stored.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Store the files of the result in DIR, named after their place in the result. DIR is created; if it exists, it must be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Accept a DIR that is not empty, and replace files that have the same names.
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

/// Options of `compile`.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The plugin's name, the path of its manifest, or a component (FILE.wasm).
    #[arg(value_name = "NAME|FILE")]
    pub(crate) what: String,
}

/// Options of `import-cjm`.
#[derive(Debug, Args)]
pub(crate) struct ImportCjm {
    /// The directory that has cjm.yaml, the data directory (~/.cjm), or a directory of manifests.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Keep showing new records until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show the last N records (of those that the other options select).
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    pub(crate) lines: usize,
    /// Show only records of this level and above.
    #[arg(long, value_enum, default_value = "info")]
    pub(crate) level: Level,
    /// Show only records of this call.
    #[arg(long, value_name = "ID")]
    pub(crate) call: Option<bivium::CallId>,
}

/// The level of a log record.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl From<Level> for bivium::LogLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::TRACE,
            Level::Debug => Self::DEBUG,
            Level::Info => Self::INFO,
            Level::Warn => Self::WARN,
            Level::Error => Self::ERROR,
        }
    }
}

/// Options of `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Manifests, pipelines (JSON files with `steps`), policies, or directories of them.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the configuration that a call would run with, defaults included. This starts the plugin.
    Get(Named),
    /// Change the configuration and save it for later runs. This starts the plugin with it, so that the plugin can refuse it.
    #[command(after_help = CONFIG_EXAMPLE)]
    Set(ConfigSet),
    /// Remove keys from the saved configuration, so that they have their defaults again. This starts the plugin without them.
    Unset(ConfigUnset),
    /// Delete the whole saved configuration. The plugin is not started.
    Reset(Named),
    /// Print the JSON Schema of the configuration. This starts the plugin if its manifest has no schema.
    Schema(Named),
}

/// Options of `config set`.
#[derive(Debug, Args)]
pub(crate) struct ConfigSet {
    #[command(flatten)]
    pub(crate) named: Named,
    /// A change: key=value for a string, key:=JSON for any JSON value. Objects are merged, and null removes a key (RFC 7396).
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub(crate) settings: Vec<Setting>,
}

/// Options of `config unset`.
#[derive(Debug, Args)]
pub(crate) struct ConfigUnset {
    #[command(flatten)]
    pub(crate) named: Named,
    /// A key to remove.
    #[arg(value_name = "KEY", required = true)]
    pub(crate) keys: Vec<String>,
}

/// What to do with a pipeline.
#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Run a pipeline and print its outputs.
    #[command(after_help = with_files(PIPELINE_EXAMPLES))]
    Run(PipelineRun),
    /// List the pipelines in the directories of manifests.
    List,
    /// Check a pipeline, its plugins, their methods (as far as files tell) and its input files. Nothing runs.
    Check(NamedPipeline),
    /// Print the JSON Schema of pipelines, for editors.
    Schema,
}

/// A pipeline.
#[derive(Debug, Args)]
pub(crate) struct NamedPipeline {
    /// The pipeline's JSON file, or the name of a pipeline in the directories of manifests.
    #[arg(value_name = "PIPELINE")]
    pub(crate) pipeline: PathBuf,
}

/// Options of `pipeline run`.
#[derive(Debug, Args)]
pub(crate) struct PipelineRun {
    #[command(flatten)]
    pub(crate) pipeline: NamedPipeline,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

/// Reads JSON from the command line.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    json_of("", text)
}

/// Reads the JSON value of the argument with this name.
pub(crate) fn json_of(key: &str, text: &str) -> Result<Value, String> {
    exact::from_str(text).map_err(|error| match error {
        Unread::Inexact(inexact) if key.is_empty() => inexact.to_string(),
        Unread::Inexact(inexact) => inexact.below(key).to_string(),
        error if key.is_empty() => {
            format!("not valid JSON ({error}); write a text in double quotes within single ones ('\"text\"'), or give it by its name (name=text)")
        }
        error => format!("not valid JSON ({error}); for a text write {key}=…"),
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds.is_nan() || seconds <= 0.0 {
        return Err("must be more than 0 seconds".to_owned());
    }
    // A number too large for a duration means no limit.
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seconds_may_have_fractions_and_no_sign() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("1e300"), Ok(Duration::MAX));
        for wrong in ["0", "-1", "NaN", "", "1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
