//! Messages as snapshots show them: complete, except for values that differ between runs.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::raw::Reply;

/// Keys whose values depend on the machine or on the time.
const VARY: [&str; 11] = [
    "pid",
    "port",
    "python",
    "implementation",
    "executable",
    "time",
    "threads",
    "uptime_s",
    "deadline_s",
    "token",
    "exchange",
];

/// A text to which messages are added one by one.
pub(crate) struct Shown {
    exchange: PathBuf,
    text: String,
}

impl Shown {
    /// `exchange` is a directory whose path is replaced in all messages.
    pub(crate) fn new(exchange: &Path) -> Self {
        Self { exchange: exchange.to_owned(), text: String::new() }
    }

    /// A message without a body.
    pub(crate) fn title(&mut self, title: &str) -> &mut Self {
        self.section(title, "")
    }

    pub(crate) fn json(&mut self, title: &str, value: &Value) -> &mut Self {
        let value = self.without_varying(None, value);
        self.section(title, &format!("{value:#}\n"))
    }

    pub(crate) fn reply(&mut self, title: &str, reply: &Reply) -> &mut Self {
        let head = reply.head.iter().filter(|line| !line.starts_with("Content-Length: "));
        let mut text: String = head.map(|line| format!("{line}\n")).collect();
        // A stream has one object a line.
        let is_stream = reply.head.iter().any(|line| line.ends_with("x-ndjson"));
        for line in reply.body.lines() {
            let value = self.without_varying(None, &serde_json::from_str(line).unwrap());
            text += &if is_stream { format!("{value}\n") } else { format!("{value:#}\n") };
        }
        self.section(title, &text)
    }

    fn section(&mut self, title: &str, text: &str) -> &mut Self {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        self.text += &format!("{gap}=== {title}\n{text}");
        self
    }

    pub(crate) fn end(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    fn without_varying(&self, key: Option<&str>, value: &Value) -> Value {
        match (key, value) {
            (Some(key), Value::Number(_) | Value::String(_)) if VARY.contains(&key) => format!("[{key}]").into(),
            (Some("path"), Value::String(path)) => file(path).into(),
            (Some("traceback"), Value::String(text)) => self.place(&traceback(text)).into(),
            (_, Value::String(text)) => self.place(text).into(),
            (_, Value::Array(items)) => items.iter().map(|item| self.without_varying(None, item)).collect(),
            (_, Value::Object(object)) => {
                let replaced = |(key, value): (&String, &Value)| (key.clone(), self.without_varying(Some(key), value));
                Value::Object(object.iter().map(replaced).collect())
            }
            (_, other) => other.clone(),
        }
    }

    fn place(&self, text: &str) -> String {
        if text.len() == 16 && text.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return "[id]".to_owned();
        }
        let plugins = crate::common::plugins();
        let text = text.replace(self.exchange.to_str().unwrap(), "[EXCHANGE]");
        text.replace(plugins.to_str().unwrap(), "[PLUGINS]")
    }
}

/// Replaces a random file name: only whether the path is absolute, and the extension, are kept.
fn file(path: &str) -> String {
    let path = Path::new(path);
    let suffix = path.extension().map(|suffix| format!(".{}", suffix.display())).unwrap_or_default();
    format!("{}[file]{suffix}", if path.is_absolute() { "/" } else { "" })
}

/// A traceback without line numbers, and without the markers that newer versions of Python write.
fn traceback(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains('^') || line.contains(char::is_alphabetic));
    let lines = lines.map(|line| match line.split_once(", line ") {
        Some((file, rest)) => format!("{file}, line [n],{}", rest.split_once(',').map_or("", |(_, rest)| rest)),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}
