//! The commands, one file each. A command returns its exit status or its failure.

mod compile;
mod completions;
mod config;
mod doctor;
mod import_cjm;
mod info;
mod kept;
mod list;
mod logs;
mod method_help;
mod missing;
mod pipeline;
mod run;
mod stats;
mod switch;
mod validate;

use crate::args::{Cache, Cli, Command, Config, Env, Pipeline};
use crate::exit::DONE;
use crate::failure::Failure;
use crate::output::Output;

/// Runs the command of the command line.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::List(args) => list::list(global, output, &args).await?,
        Command::Info(args) => info::info(global, output, &args).await?,
        Command::Run(args) => run::run(global, output, args).await?,
        Command::Stream(args) => run::stream(global, output, args).await?,
        Command::Validate(args) => return validate::validate(global, output, &args),
        Command::Config(Config::Get(named)) => config::get(global, output, &named).await?,
        Command::Config(Config::Set(args)) => config::set(global, output, args).await?,
        Command::Config(Config::Unset(args)) => config::unset(global, output, args).await?,
        Command::Config(Config::Reset(named)) => config::reset(global, output, &named)?,
        Command::Config(Config::Schema(named)) => config::schema(global, output, &named).await?,
        Command::Stats(named) => stats::stats(global, output, &named).await?,
        Command::Enable(named) => switch::enable(global, output, &named, true).await?,
        Command::Disable(named) => switch::enable(global, output, &named, false).await?,
        Command::Compile(args) => compile::compile(global, output, &args).await?,
        Command::Logs(args) => return logs::logs(global, output, &args).await,
        Command::Pipeline(Pipeline::Run(args)) => pipeline::run(global, output, &args).await?,
        Command::Pipeline(Pipeline::List) => pipeline::list(global, output)?,
        Command::Pipeline(Pipeline::Check(named)) => pipeline::check(global, output, &named).await?,
        Command::Pipeline(Pipeline::Schema) => output.value(&bivium::pipeline::Pipeline::json_schema())?,
        Command::ImportCjm(args) => import_cjm::import_cjm(output, &args)?,
        Command::Cache(Cache::List) => kept::list_cache(global, output)?,
        Command::Cache(Cache::Clean(args)) => kept::clean_cache(global, output, &args)?,
        Command::Env(Env::List) => kept::list_environments(global, output)?,
        Command::Env(Env::Clean(args)) => kept::clean_environments(global, output, &args)?,
        Command::Completions(args) => completions::completions(output, &args)?,
        Command::Man { dir } => completions::man(output, &dir)?,
        Command::Doctor => return doctor::doctor(global, output).await,
    }
    Ok(DONE)
}
