//! Errors on standard error: one sentence, then each problem on a line of its own, then the plugin's traceback.

use bivium::PluginError;

use super::screen::{Screen, Style};
use super::text::on_one_line;

/// Shows an error to people.
pub(super) fn show(error: &PluginError, screen: &Screen) {
    screen.marked("bivium:", Style::Error, &sentence(error));
    rest(error, screen);
}

/// Shows what is not as it should be, though it stops nothing.
pub(super) fn warn(error: &PluginError, screen: &Screen) {
    screen.marked("bivium: warning:", Style::Warning, &sentence(error));
    rest(error, screen);
}

/// What stands below the sentence.
fn rest(error: &PluginError, screen: &Screen) {
    for problem in error.problems() {
        screen.line(&format!("  {}", on_one_line(&problem.to_string())));
    }
    let traceback = error.failure().map_or("", |failure| failure.traceback.trim_end());
    if !traceback.is_empty() {
        screen.dimmed(traceback);
    }
}

/// The error on one line of JSON.
pub(super) fn json(error: &PluginError) -> String {
    serde_json::to_value(error).map_or_else(|_| error.to_string(), |value| super::text::json(&value, false))
}

/// The error without its list of problems.
fn sentence(error: &PluginError) -> String {
    let plugin = error.plugin().map(|plugin| format!("{plugin}: ")).unwrap_or_default();
    let help = error.help().map(|help| format!("; {help}")).unwrap_or_default();
    on_one_line(&format!("{plugin}{}{help}", error.message()))
}

#[cfg(test)]
mod tests {
    use bivium::Problem;

    use super::*;

    #[test]
    fn the_sentence_leaves_the_problems_to_lines_of_their_own() {
        let problem = Problem::new("/mask", "must be a string");
        let error = PluginError::invalid_config("it does not\nfit")
            .with_plugin("redact")
            .with_problems(vec![problem])
            .with_help("mend it");
        assert_eq!(sentence(&error), "redact: it does not fit; mend it");
        assert!(json(&error).starts_with(r#"{"code":"invalid-config","message":"it does not\nfit","plugin":"redact""#));
    }
}
