//! The command line, as clap reads it. The help texts are the program's manual.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use crate::arguments::Assignment;
use crate::secrets::Secrets;
use crate::settings::Setting;

const EXAMPLES: &str = "\
Examples:
  bivium list                                  what plugins there are
  bivium run redact text='call 555-0100'       call one; its result is JSON on standard output
  bivium stream transcribe audio@=speech.wav   results as they come, one line each
  bivium run ./redact.json text=hello          a plugin by its manifest's path
  bivium pipeline run captions.json --out out  several plugins in a row

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
Examples:
  bivium run redact text='call 555-0100' --config mask='*'
  bivium run image-thumb image@=photo.jpg width:=128 --out thumbs
  bivium run resize --method fit --arg 640 --arg 480
  echo '{\"text\": \"hello\"}' | bivium run redact --json -";

const STREAM_EXAMPLES: &str = "\
Examples:
  bivium stream transcribe audio@=speech.wav
  bivium stream audio-prep audio@=speech.wav --out segments --timeout 60";

const PIPELINE_EXAMPLES: &str = "\
Examples:
  bivium pipeline run captions.json audio@=speech.wav --out out";

const COMPILE_EXAMPLES: &str = "\
Examples:
  bivium compile redact
  bivium compile ./redact.wasm --cache /var/cache/bivium

Compiled components are kept in the subdirectory `components` of the cache, which nobody but you can enter, and found
there by any later run. What is not in it is compiled when it is loaded. A component is compiled in a process of its own,
within its `limits.component_mb` and `limits.compile_s`.";

const LOGS_EXAMPLES: &str = "\
Examples:
  bivium logs transcribe -f
  bivium logs redact -n 20 --level warn --output json

Each record has its time (UTC), level, source (log, stdout, stderr, or host for what Bivium says of the plugin), the worker's
process id or the instance's number, and the call. They are kept in the data directory, 32 MiB a plugin at most.";

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
    /// [env: BIVIUM_MANIFESTS, a list like PATH].
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) manifests: Vec<PathBuf>,
    /// Keep saved configurations in DIR.
    #[arg(long, value_name = "DIR", env = "BIVIUM_DATA_DIR", hide_env_values = true, global = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep environments made for Python plugins in DIR.
    #[arg(long, value_name = "DIR", env = "BIVIUM_ENVIRONMENTS", hide_env_values = true, global = true)]
    pub(crate) environments: Option<PathBuf>,
    /// Grant plugins at most what the policy in FILE grants; without it they get what their manifests declare.
    #[arg(long, value_name = "FILE", env = "BIVIUM_POLICY", hide_env_values = true, global = true)]
    pub(crate) policy: Option<PathBuf>,
    /// Append what plugins are granted and denied to FILE, one line of JSON each.
    #[arg(long, value_name = "FILE", env = "BIVIUM_AUDIT", hide_env_values = true, global = true)]
    pub(crate) audit: Option<PathBuf>,
    /// Keep compiled components in DIR.
    #[arg(long, value_name = "DIR", env = "BIVIUM_CACHE", hide_env_values = true, global = true)]
    pub(crate) cache: Option<PathBuf>,
    /// How results and errors are written: for people, or each as one line of JSON.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, global = true)]
    pub(crate) output: Format,
    /// Log more on standard error (-vv: still more) [env: BIVIUM_LOG, a filter like bivium=debug].
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "quiet", global = true)]
    pub(crate) verbose: u8,
    /// Log errors only, and leave out hints.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show no progress bars on a terminal.
    #[arg(long, global = true)]
    pub(crate) no_progress: bool,
    /// Those of the environment.
    #[arg(skip)]
    pub(crate) secrets: Secrets,
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
    /// What a host starts to compile one component: it reads its order from standard input.
    #[command(hide = true)]
    Compiler,
}

/// A plugin.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The plugin's name, or the path of its manifest.
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
    #[arg(long = "arg", value_name = "JSON", value_parser = json)]
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
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
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
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    pub(crate) lines: usize,
    /// Only records of this level and above.
    #[arg(long, value_enum)]
    pub(crate) level: Option<Level>,
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
    #[command(after_help = "Example:\n  bivium config set redact mask='*' patterns:='[\"[0-9]+\"]'")]
    Set(ConfigSet),
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

/// What to do with a pipeline.
#[derive(Debug, Subcommand)]
pub(crate) enum Pipeline {
    /// Run a pipeline and print its outputs.
    #[command(after_help = with_files(PIPELINE_EXAMPLES))]
    Run(PipelineRun),
}

/// Options of `pipeline run`.
#[derive(Debug, Args)]
pub(crate) struct PipelineRun {
    /// The pipeline's JSON file.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) inputs: Inputs,
    #[command(flatten)]
    pub(crate) timeout: Timeout,
    #[command(flatten)]
    pub(crate) keep: Keep,
}

/// JSON on the command line.
pub(crate) fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("not valid JSON ({error}); a string needs quotes of its own"))
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
