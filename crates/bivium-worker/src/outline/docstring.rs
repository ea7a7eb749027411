//! Reads docstrings, by the same rules as `python/bivium_worker/docstrings.py`: change both together.

use std::collections::BTreeMap;

use super::node::clipped;

/// The headings of sections that describe parameters.
const SECTIONS: &[&str] = &[
    "args",
    "arguments",
    "parameters",
    "params",
    "keyword args",
    "keyword arguments",
    "other parameters",
    "attributes",
];
const FIELDS: &[&str] = &["param", "parameter", "arg", "argument", "key", "keyword"];
/// A tab extends to the next multiple of this column.
const TAB: usize = 8;

/// A docstring without the indentation of its source, like Python's `inspect.cleandoc`.
pub(super) fn clean(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(expanded).collect();
    let margin =
        lines.iter().skip(1).filter(|line| !line.trim().is_empty()).map(|line| indent(line)).min().unwrap_or(0);
    let (first, rest) = lines.split_first().map_or(("", &[][..]), |(first, rest)| (first.trim_start(), rest));
    let rest = rest.iter().map(|line| line.get(margin..).unwrap_or(line.trim_start()));
    let lines: Vec<&str> = std::iter::once(first).chain(rest).map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// The description of each parameter by name, each on one line. `doc` is the result of `clean`.
pub(super) fn parameters(doc: &str) -> BTreeMap<String, String> {
    let lines: Vec<String> = doc.lines().map(expanded).collect();
    let mut reader = Reader::default();
    for (n, line) in lines.iter().enumerate() {
        let following = lines.get(n + 1).map(|line| line.trim()).unwrap_or_default();
        reader.line(line.trim(), indent(line), following);
    }
    let said = reader.found.into_iter().filter(|(_, words)| !words.is_empty());
    said.map(|(name, words)| (name, clipped(&words.join(" ")))).collect()
}

#[derive(Default, PartialEq)]
enum Form {
    #[default]
    None,
    /// `:param NAME: TEXT`.
    Field,
    /// `Args:`, with indented entries.
    Indented,
    /// `Parameters`, underlined.
    Underlined,
}

#[derive(Default)]
struct Reader {
    found: BTreeMap<String, Vec<String>>,
    /// The parameters that the next words describe.
    names: Vec<String>,
    form: Form,
    /// The indentation of the section's heading, or of the field.
    indent: usize,
    /// The indentation of the entries in a section with indented entries; 0 before the first.
    entries: usize,
}

impl Reader {
    fn line(&mut self, text: &str, indent: usize, following: &str) {
        let is_section = |text: &str| SECTIONS.contains(&text.to_lowercase().as_str());
        if let Some((name, text)) = field(text) {
            (self.form, self.indent) = (Form::Field, indent);
            self.begin(vec![name.to_owned()], text);
        } else if text.is_empty() {
            if self.form == Form::Field {
                self.names.clear();
            }
        } else if text.strip_suffix(':').is_some_and(|heading| is_section(heading.trim())) {
            (self.form, self.indent, self.entries) = (Form::Indented, indent, 0);
            self.names.clear();
        } else if is_rule(following) {
            (self.form, self.indent) = (if is_section(text) { Form::Underlined } else { Form::None }, indent);
            self.names.clear();
        } else if self.form == Form::Indented && indent > self.indent {
            if self.entries > 0 && indent > self.entries {
                return self.more(text);
            }
            self.entries = indent;
            match entry(text) {
                Some((name, text)) => self.begin(vec![name.to_owned()], text),
                None => self.names.clear(),
            }
        } else if self.form == Form::Underlined {
            if indent > self.indent {
                self.more(text);
            } else if !is_rule(text) {
                let heads = text.split(':').next().unwrap_or_default();
                let names: Vec<&str> = heads.split(',').map(|name| name.trim().trim_start_matches('*')).collect();
                let are_names = names.iter().all(|name| is_name(name));
                self.begin(if are_names { names.into_iter().map(str::to_owned).collect() } else { Vec::new() }, "");
            }
        } else if self.form == Form::Field && indent > self.indent {
            self.more(text);
        } else {
            self.form = Form::None;
            self.names.clear();
        }
    }

    fn begin(&mut self, names: Vec<String>, text: &str) {
        self.found.extend(names.iter().map(|name| (name.clone(), Vec::new())));
        self.names = names;
        self.more(text);
    }

    fn more(&mut self, text: &str) {
        for name in &self.names {
            if let Some(words) = self.found.get_mut(name) {
                words.extend(text.split_whitespace().map(str::to_owned));
            }
        }
    }
}

/// `:param TYPE NAME: TEXT`.
fn field(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.strip_prefix(':')?.split_once(char::is_whitespace)?;
    let (head, text) = rest.split_once(':')?;
    let name = head.split_whitespace().next_back()?.trim_start_matches('*');
    (FIELDS.contains(&kind) && is_name(name)).then_some((name, text))
}

/// `NAME (TYPE): TEXT`.
fn entry(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches('*');
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    let (name, rest) = text.split_at_checked(end)?;
    let rest = rest.trim_start();
    let rest = if rest.starts_with('(') {
        // The first closing parenthesis that a colon follows.
        rest.match_indices(')')
            .map(|(at, _)| rest.get(at + 1..).unwrap_or_default().trim_start())
            .find(|rest| rest.starts_with(':'))?
    } else {
        rest
    };
    (!name.is_empty()).then_some((name, rest.strip_prefix(':')?))
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Whether a line underlines the one before.
fn is_rule(text: &str) -> bool {
    text.len() > 2 && text.chars().all(|c| c == '-')
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn expanded(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut column = 0;
    for c in line.chars() {
        let width = if c == '\t' { TAB - column % TAB } else { 1 };
        text.extend(std::iter::repeat_n(if c == '\t' { ' ' } else { c }, width));
        column += width;
    }
    text
}
