//! Reads the command line. Shortens clap's help texts where they would repeat the global options.

use clap::error::{ContextKind, ContextValue};
use clap::{Command, CommandFactory as _, Error, FromArgMatches as _};

use crate::args::Cli;

/// Replaces the list of global options in the help of a command.
const GLOBAL_OPTIONS: &str = "Global options (--manifests, --policy, --output json and others): bivium --help";

/// The command line of this process. Ends the process if the command line is wrong or asks for help.
pub(crate) fn read() -> Cli {
    let mut command = short();
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) => suggest_one(error).exit(),
    };
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    cli.global.take_environment();
    cli
}

/// As [`short`], without the command `help` of each command.
pub(crate) fn without_help() -> Command {
    fn without(command: Command) -> Command {
        command.disable_help_subcommand(true).mut_subcommands(without)
    }
    shortened(without(Cli::command()))
}

/// The program's command. Only its own help lists the global options; the help of each subcommand refers to it.
pub(crate) fn short() -> Command {
    shortened(Cli::command())
}

fn shortened(mut command: Command) -> Command {
    // Only this makes the global options options of every subcommand.
    command.build();
    command.mut_subcommands(shorten)
}

fn shorten(command: Command) -> Command {
    let after = match command.get_after_help() {
        Some(after) => format!("{after}\n\n{GLOBAL_OPTIONS}"),
        None => GLOBAL_OPTIONS.to_owned(),
    };
    let hide = |arg: clap::Arg| if arg.is_global_set() { arg.hide(true) } else { arg };
    command.after_help(after).mut_args(hide).mut_subcommands(shorten)
}

/// Suggests only the most similar of several commands. Clap sorts them; the most similar is last.
fn suggest_one(mut error: Error) -> Error {
    if let Some(ContextValue::Strings(mut names)) = error.remove(ContextKind::SuggestedSubcommand)
        && let Some(nearest) = names.pop()
    {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::String(nearest));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(typed: &str) -> Option<String> {
        let mut command = short();
        let error = command.try_get_matches_from_mut(["bivium", typed]).unwrap_err();
        match suggest_one(error).get(ContextKind::SuggestedSubcommand) {
            Some(ContextValue::String(name)) => Some(name.clone()),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_nearest_command_is_suggested() {
        for (typed, wanted) in [("lits", "list"), ("compiler", "compile"), ("valdate", "validate")] {
            assert_eq!(suggested(typed).as_deref(), Some(wanted), "{typed}");
        }
        assert_eq!(suggested("zzz"), None);
    }

    #[test]
    fn global_options_are_listed_once() {
        let mut command = short();
        assert!(command.render_long_help().to_string().contains("--data-dir <DIR>"));
        for name in ["run", "list", "pipeline"] {
            let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(!help.contains("--data-dir") && help.contains(GLOBAL_OPTIONS), "{help}");
        }
        let cli = |args: &[&str]| Cli::from_arg_matches(&short().try_get_matches_from(args).unwrap()).unwrap();
        assert!(cli(&["bivium", "list", "-q"]).global.quiet && cli(&["bivium", "-q", "list"]).global.quiet);
    }
}
