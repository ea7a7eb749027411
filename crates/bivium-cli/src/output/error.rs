//! Errors on standard error: one sentence, then each problem on a line of its own, then the plugin's traceback.

use bivium::{Failure, PluginError};

use super::screen::{Screen, Style};
use super::text::on_one_line;

/// Shows an error to people.
pub(super) fn show(error: &PluginError, screen: &Screen) {
    screen.marked("bivium:", Style::Error, &sentence(error));
    rest(error, screen);
}

/// Shows an error as a warning: the command goes on.
pub(super) fn warn(error: &PluginError, screen: &Screen) {
    screen.warning(&sentence(error));
    rest(error, screen);
}

/// The lines below the sentence.
fn rest(error: &PluginError, screen: &Screen) {
    for problem in error.problems() {
        screen.line(&format!("  {}", on_one_line(&problem.to_string())));
    }
    let traceback = error.failure().map(traceback).unwrap_or_default();
    // The traceback of a worker that died is the last lines that it wrote.
    if !traceback.is_empty() && !screen.has_shown(&traceback) {
        screen.dimmed(&traceback);
    }
}

/// The traceback without its last line, which would repeat the sentence.
fn traceback(failure: &Failure) -> String {
    let whole = failure.traceback.trim_end();
    let Some(name) = failure.kind.rsplit('.').next().filter(|name| !name.is_empty()) else { return whole.to_owned() };
    let lines: Vec<&str> = whole.lines().collect();
    let is_of_it = |line: &&str| line.split(':').next().is_some_and(|kind| kind.rsplit('.').next() == Some(name));
    let Some(at) = lines.iter().rposition(is_of_it) else { return whole.to_owned() };
    // A message may have several lines, and notes may follow it.
    let more = failure.message.lines().skip(1);
    let below = lines.iter().skip(at + 1).zip(more).take_while(|(line, said)| *line == said).count();
    let kept = |(n, _): &(usize, &&str)| *n < at || *n > at + below;
    lines.iter().enumerate().filter(kept).map(|(_, line)| *line).collect::<Vec<_>>().join("\n")
}

/// The error as one line of JSON.
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
    fn a_traceback_does_not_say_the_error_again() {
        let frames = "Traceback (most recent call last):\n  File \"x.py\", line 1, in f\n    raise Bad(text)";
        let cut = |kind: &str, message: &str, rest: &str| {
            traceback(&Failure::new(kind, message).with_traceback(format!("{frames}\n{rest}\n")))
        };
        assert_eq!(cut("ValueError", "no", "ValueError: no"), frames);
        assert_eq!(cut("x.Bad", "no\nnever", "x.Bad: no\nnever"), frames);
        assert_eq!(cut("x.Bad", "", "x.Bad"), frames);
        assert_eq!(cut("x.Bad", "no", "x.Bad: no\na note"), format!("{frames}\na note"));
        assert_eq!(cut("Other", "no", "ValueError: no"), format!("{frames}\nValueError: no"));
        let cause = format!("ValueError: inner\n\nThe above exception was the direct cause\n\n{frames}");
        assert_eq!(cut("ValueError", "outer", &format!("{cause}\nValueError: outer")), format!("{frames}\n{cause}"));
    }

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
