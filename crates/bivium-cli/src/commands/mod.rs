//! The commands, a file each. A command says how it ended by its exit status or its failure.

mod compile;
mod config;
mod doctor;
mod import_cjm;
mod info;
mod list;
mod logs;
mod pipeline;
mod run;
mod switch;
mod validate;

use crate::args::{Cli, Command, Config, Pipeline};
use crate::exit::{DONE, Failure};
use crate::output::Output;

/// Does what the command line asks.
pub(crate) async fn run(cli: Cli, output: &Output) -> Result<u8, Failure> {
    let global = &cli.global;
    match cli.command {
        Command::List(args) => list::list(global, output, &args).await?,
        Command::Info(args) => info::info(global, output, &args).await?,
        Command::Run(args) => run::run(global, output, args).await?,
        Command::Stream(args) => run::stream(global, output, args).await?,
        Command::Validate(args) => return validate::validate(output, &args),
        Command::Config(Config::Get(named)) => config::get(global, output, &named).await?,
        Command::Config(Config::Set(args)) => config::set(global, output, args).await?,
        Command::Config(Config::Schema(named)) => config::schema(global, output, &named).await?,
        Command::Enable(named) => switch::enable(global, output, &named, true).await?,
        Command::Disable(named) => switch::enable(global, output, &named, false).await?,
        Command::Compile(args) => compile::compile(global, output, &args).await?,
        Command::Logs(args) => return logs::logs(global, output, &args).await,
        Command::Pipeline(Pipeline::Run(args)) => pipeline::run(global, output, &args).await?,
        Command::ImportCjm(args) => import_cjm::import_cjm(output, &args)?,
        Command::Doctor => return doctor::doctor(global, output).await,
        // It has ended before there was a runtime.
        Command::Compiler => {}
    }
    Ok(DONE)
}
