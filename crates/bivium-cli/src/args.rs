//! The command line, as clap reads it. The help texts are the program's manual.

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
  bivium list  # what plugins there are
  bivium info redact  # what one is, what it may do, how it is called
  bivium run redact text='call 555-0100'  # call one; its result is JSON on standard output
  bivium stream wordcount text='one line'  # results as they come, one line of JSON each
  bivium run examples/plugins/wordcount/wordcount.json text=hello  # a plugin by its manifest's path
  bivium run examples/plugins/target/guests/redact.wasm text=hello  # a component without a manifest
  bivium pipeline run examples/pipelines/transcribe/pipeline.json --out captions  # several plugins in a row

Secrets:
  BIVIUM_SECRET_NAME in the environment is the secret NAME of plugins whose manifests name it.

Exit status:
  0 done, 1 the plugin failed, 2 wrong usage, 3 not found, 4 invalid manifest, configuration or input, 5 denied,
  6 resource exhausted, 7 unavailable, crashed or interrupted, 124 timed out, 130 cancelled";

const FILES: &str = "\
Files:
  key@=PATH passes the file by reference, with no copy; its extension tells its media type. In JSON,
  {\"$blob\": {\"path\": \"speech.wav\"}} stands for a file, as it does in results; a literal key $blob is $$blob.";

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

Compiled components are kept in the subdirectory `components` of the cache, which nobody but you can enter, and found
there by any later run. What is not in it is compiled when it is loaded. A component is compiled in a process of its own,
within its `limits.component_mb` and `limits.compile_s`.";

const LOGS_EXAMPLES: &str = "\
Examples (with the plugins of `bivium --help`):
  bivium logs wordcount -f
  bivium logs redact -n 20 --level warn --output json

Each record has its time (UTC), level, source (log, stdout, stderr, or host for what Bivium says of the plugin), the worker's
process id or the instance's number, and the call. They are kept in the data directory, 32 MiB a plugin at most.";

const CONFIG_EXAMPLE: &str = "\
Example (with the plugins of `bivium --help`):
  bivium config set redact mask='*' patterns:='[{\"name\": \"number\", \"regex\": \"[0-9]+\"}]'";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  source <(bivium completions bash)  # for this shell; in ~/.bashrc for all
  bivium completions zsh > _bivium  # into a directory of $fpath
  bivium completions fish > bivium.fish  # into ~/.config/fish/completions";

fn with_files(examples: &str) -> String {
    format!("{examples}\n\n{FILES}")
}

/// Runs plugins: WebAssembly components in a sandbox and Python classes in processes of their own.
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
    /// Look for manifests in DIR (or take the one manifest), in place of ./.bivium/manifests and
    /// ~/.bivium/manifests, of which only what is yours or root's is read; repeat it for more, nearest first
    /// [env: BIVIUM_MANIFESTS, a list like PATH]. BIVIUM_HOME names one directory for all that follows: its `manifests` are looked at
    /// after the usual ones, and its `data` and `cache` are used.
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) manifests: Vec<PathBuf>,
    /// Keep saved configurations in DIR [env: BIVIUM_DATA_DIR].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep environments made for Python plugins in DIR [env: BIVIUM_ENVIRONMENTS].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) environments: Option<PathBuf>,
    /// Grant plugins at most what the policy in FILE grants; without it they get what their manifests declare [env: BIVIUM_POLICY].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) policy: Option<PathBuf>,
    /// Append what plugins are granted and denied to FILE, one line of JSON each [env: BIVIUM_AUDIT].
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) audit: Option<PathBuf>,
    /// Keep compiled components, environments, the worker's program and what libraries of Python plugins keep in DIR [env: BIVIUM_CACHE].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) cache: Option<PathBuf>,
    /// How results and errors are written: for people, or each as one line of JSON.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
    /// Log more on standard error (-vv: still more) [env: BIVIUM_LOG, a filter like bivium=debug].
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet", global = true)]
    pub(crate) verbose: u8,
    /// Ask plugins for their log records of this level and above, keep them for `bivium logs`, and show them on standard error;
    /// without it Python plugins log from info on [env: BIVIUM_PLUGIN_LOG].
    #[arg(long, value_name = "LEVEL", value_enum, global = true)]
    pub(crate) log_level: Option<Level>,
    /// Say errors only: leave out warnings, hints and what plugins print.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show no progress bars on a terminal.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// The directory that BIVIUM_HOME names. It holds `manifests`, and `data` and `cache` unless these have another place.
    #[arg(skip)]
    pub(crate) home: Option<PathBuf>,
    /// What BIVIUM_PLUGIN_LOG holds in place of a level.
    #[arg(skip)]
    pub(crate) wrong_log_level: Option<OsString>,
    /// Those of the environment.
    #[arg(skip)]
    pub(crate) secrets: Secrets,
}

impl Global {
    /// Takes what the command line does not say from the environment. Clap would show what it finds there in its usage texts.
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
    /// List the plugins that there are.
    List(List),
    /// Show what a plugin is, what it may do, its methods and its configuration, as far as that can be told without running
    /// any of its code.
    Info(Info),
    /// Call a plugin and print its result.
    #[command(after_help = with_files(RUN_EXAMPLES))]
    Run(Run),
    /// Call a plugin and print its results as they come, one line of JSON each.
    #[command(after_help = with_files(STREAM_EXAMPLES))]
    Stream(Run),
    /// Check manifests and pipelines, and report everything that is wrong with them.
    Validate(Validate),
    /// Show or change a plugin's saved configuration.
    #[command(subcommand)]
    Config(Config),
    /// Load a plugin and show what it takes before its first call: memory, GPU memory, processes, time to start.
    Stats(Named),
    /// Let calls to a plugin through again, from now on.
    Enable(Named),
    /// Refuse calls to a plugin, from now on.
    Disable(Named),
    /// Compile a plugin's component ahead of its first call.
    #[command(after_help = COMPILE_EXAMPLES)]
    Compile(Compile),
    /// Show what plugins printed and logged, in this run of the program and in earlier ones.
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(Logs),
    /// Run several plugins in a row.
    #[command(subcommand)]
    Pipeline(Pipeline),
    /// Show what would be loaded of what cjm-plugin-system has installed; change nothing.
    ImportCjm(ImportCjm),
    /// Check that this machine has what plugins need.
    Doctor,
    /// Show or empty the caches, which are made again when they are needed.
    #[command(subcommand)]
    Cache(Cache),
    /// Show or remove the environments that were made for Python plugins.
    #[command(subcommand)]
    Env(Env),
    /// Print what a shell needs to complete this program's command lines.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Write the manual pages of all commands.
    #[command(after_help = "Example:\n  bivium man man  # `man -l man/bivium-run.1` shows one of them")]
    Man {
        /// The directory for them, which is made if it is not there.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
}

/// What to do with the caches.
#[derive(Debug, Subcommand)]
pub(crate) enum Cache {
    /// Show what is kept, and how large it is.
    List,
    /// Remove what is kept, but for the caches of plugins that a host has loaded.
    Clean(CacheClean),
}

/// Options of `cache clean`.
#[derive(Debug, Args)]
pub(crate) struct CacheClean {
    /// Only what the libraries of these plugins keep, such as models.
    #[arg(value_name = "PLUGIN")]
    pub(crate) plugins: Vec<String>,
}

/// What to do with environments.
#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Show the environments, their size, when a plugin last used them, and what is installed in them.
    List,
    /// Remove environments that no host uses now. A plugin that needs one later has it made anew.
    Clean(EnvClean),
}

/// Options of `env clean`.
#[derive(Debug, Args)]
pub(crate) struct EnvClean {
    /// Only these, as `env list` names them.
    #[arg(value_name = "KEY")]
    pub(crate) keys: Vec<String>,
    /// Only what no plugin has begun to use for so many days.
    #[arg(long, value_name = "DAYS")]
    pub(crate) unused_for: Option<u32>,
}

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Which shell.
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// A plugin.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The plugin's name, the path of its manifest, or a file without one: a component (FILE.wasm), which gets no permissions, or
    /// a class or a function in Python (FILE.py:NAME, package.module:NAME), which runs with your rights as `python3 FILE.py` would.
    #[arg(value_name = "NAME")]
    pub(crate) plugin: String,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only plugins of this category.
    #[arg(long)]
    pub(crate) category: Option<String>,
}

/// Options of `info`.
#[derive(Debug, Args)]
pub(crate) struct Info {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Load the plugin too, and ask it for its methods and its configuration: its code runs, within its permissions if it
    /// has some.
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
    /// A positional argument; repeat it for more.
    #[arg(long = "arg", value_name = "JSON", value_parser = json, allow_negative_numbers = true)]
    pub(crate) positional: Vec<Value>,
    /// Change the configuration for this run only (key=value or key:=JSON, null removes); repeat it for more.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) config: Vec<Setting>,
    /// Set a flag that a plugin of cjm-plugin-system finds in its call's envelope (force:=true); repeat it for more.
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
    /// What it takes: key=value is a string, key:=JSON any JSON value, key@=PATH a file.
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) assignments: Vec<Assignment>,
    /// Take the named arguments from a JSON object in FILE (- for standard input); those on the command line are
    /// added.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// How long it may take.
#[derive(Debug, Args)]
pub(crate) struct Timeout {
    /// Give up after this many seconds, loading included.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub(crate) timeout: Option<Duration>,
}

/// Where results that are files go.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    /// Keep the files of the result in DIR, named for where they stand in it. DIR is made, or must be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Take a directory that holds files already, and replace those of the same names.
    #[arg(long, requires = "out")]
    pub(crate) force: bool,
}

/// Options of `compile`.
#[derive(Debug, Args)]
pub(crate) struct Compile {
    /// The plugin's name, the path of its manifest, or a component (a file named .wasm).
    #[arg(value_name = "NAME|FILE")]
    pub(crate) what: String,
}

/// Options of `import-cjm`.
#[derive(Debug, Args)]
pub(crate) struct ImportCjm {
    /// The directory of its cjm.yaml, its data directory (~/.cjm), or a directory of manifests.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}

/// Options of `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    #[command(flatten)]
    pub(crate) named: Named,
    /// Go on with what is written from now on, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show the last N records (of those wanted).
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, allow_negative_numbers = true)]
    pub(crate) lines: usize,
    /// Only records of this level and above.
    #[arg(long, value_enum, default_value = "info")]
    pub(crate) level: Level,
    /// Only records of this call.
    #[arg(long, value_name = "ID")]
    pub(crate) call: Option<bivium::CallId>,
}

/// How much a log record matters.
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
    /// Manifests, pipelines (JSON files with `steps`), or directories of manifests.
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<PathBuf>,
}

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the configuration that a call would run with, defaults included; the plugin is started for it.
    Get(Named),
    /// Change the configuration and save it for later runs; the plugin is started with it, so that it can refuse it.
    #[command(after_help = CONFIG_EXAMPLE)]
    Set(ConfigSet),
    /// Take keys out of the saved configuration: they have their defaults again. The plugin is started without them.
    Unset(ConfigUnset),
    /// Forget the whole saved configuration; the plugin is not started.
    Reset(Named),
    /// Print the JSON Schema of the configuration; the plugin is started for it if its manifest has none.
    Schema(Named),
}

/// Options of `config set`.
#[derive(Debug, Args)]
pub(crate) struct ConfigSet {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What changes: key=value is a string, key:=JSON any JSON value. Objects are merged and null removes a key
    /// (RFC 7396).
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub(crate) settings: Vec<Setting>,
}

/// Options of `config unset`.
#[derive(Debug, Args)]
pub(crate) struct ConfigUnset {
    #[command(flatten)]
    pub(crate) named: Named,
    /// What is taken out.
    #[arg(value_name = "KEY", required = true)]
    pub(crate) keys: Vec<String>,
}

/// What to do with a pipeline.
#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Run a pipeline and print its outputs.
    #[command(after_help = with_files(PIPELINE_EXAMPLES))]
    Run(PipelineRun),
    /// List the pipelines that lie among the manifests.
    List,
    /// Check a pipeline and what it names: its plugins, their methods as far as files tell them, and its inputs' files. Nothing runs.
    Check(NamedPipeline),
    /// Print the JSON Schema of pipelines, for editors.
    Schema,
}

/// A pipeline.
#[derive(Debug, Args)]
pub(crate) struct NamedPipeline {
    /// The pipeline's JSON file, or the name of one that lies among the manifests.
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

/// JSON on the command line.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    json_of("", text)
}

/// The same of the argument with this name.
pub(crate) fn json_of(key: &str, text: &str) -> Result<Value, String> {
    exact::from_str(text).map_err(|error| match error {
        Unread::Inexact(inexact) if key.is_empty() => inexact.to_string(),
        Unread::Inexact(inexact) => inexact.below(key).to_string(),
        error => format!("not valid JSON ({error}); a string needs quotes of its own"),
    })
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if seconds.is_nan() || seconds <= 0.0 {
        return Err("must be more than 0 seconds".to_owned());
    }
    // More than the clock can hold is for ever.
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
