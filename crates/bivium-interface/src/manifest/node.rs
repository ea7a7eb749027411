//! Reads JSON so that every value has its line.
//!
//! `serde_json` checks the whole text first and reports syntax errors. Then the tree is made level by level from slices of the text,
//! whose positions give the lines. Each level scans its slice again, so the depth is limited by [`DEEPEST`]; this also limits the
//! recursion. A key that occurs twice in an object is reported here, because no later step could see it.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use super::problems::{Problems, quoted};
use crate::exact;

/// JSON that is nested deeper is refused. JSON Schemas in a manifest rarely have more than 20 levels.
const DEEPEST: usize = 64;

/// A value and the line where it begins.
#[derive(Debug, Clone)]
pub struct Node {
    /// The line, counted from 1.
    pub line: usize,
    /// The value.
    pub kind: Kind,
}

/// A value of JSON.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// An object, each key once.
    Object(Vec<Entry>),
    /// A value with a problem that was already reported. It fits every schema, so that it causes no second problem.
    Broken,
}

/// A key, its line and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// The line in which the key stands.
    pub line: usize,
    /// The value.
    pub value: Node,
}

impl Node {
    /// Reads JSON; `None` if the text is not JSON.
    pub(super) fn read(text: &str, problems: &mut Problems) -> Option<Self> {
        match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => Some(Reader::new(text, problems).node(raw)),
            Err(error) => {
                let column = error.column();
                let message = match extra_comma(text, error.line(), column) {
                    Some(end) => {
                        format!("this is not JSON: there is a comma before the `{end}` at column {column}; remove it")
                    }
                    None => format!("this is not JSON: {} at column {column}", without_place(&error)),
                };
                problems.add(error.line().max(1), message);
                None
            }
        }
    }

    /// The entries of an object; none of another value.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Object(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of another value.
    #[must_use]
    pub fn items(&self) -> &[Self] {
        match &self.kind {
            Kind::Array(items) => items,
            _ => &[],
        }
    }

    /// The entry with this key, unless its value is null.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key && !matches!(entry.value.kind, Kind::Null))
    }

    /// Removes a key from an object.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let Kind::Object(entries) = &mut self.kind else { return None };
        let index = entries.iter().position(|entry| entry.key == key)?;
        Some(entries.remove(index))
    }

    /// Sets an object's key. The value gets the object's line.
    pub fn set(&mut self, key: &str, kind: Kind) {
        self.remove(key);
        let line = self.line;
        if let Kind::Object(entries) = &mut self.kind {
            entries.push(Entry { key: key.to_owned(), line, value: Self { line, kind } });
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value without its lines.
    #[must_use]
    pub fn into_value(self) -> Value {
        match self.kind {
            Kind::Null | Kind::Broken => Value::Null,
            Kind::Bool(value) => Value::Bool(value),
            Kind::Number(number) => Value::Number(number),
            Kind::String(text) => Value::String(text),
            Kind::Array(nodes) => nodes.into_iter().map(Self::into_value).collect(),
            Kind::Object(entries) => Value::Object(
                entries.into_iter().map(|entry| (entry.key, entry.value.into_value())).collect::<Map<_, _>>(),
            ),
        }
    }
}

impl Entry {
    /// Adds entries to an object. A key that the object already has is reported and left out.
    pub fn merge(into: &mut Vec<Self>, from: Vec<Self>, problems: &mut Problems) {
        let mut known: HashSet<String> = into.iter().map(|entry| entry.key.clone()).collect();
        for entry in from {
            if known.insert(entry.key.clone()) {
                into.push(entry);
            } else {
                problems.add(entry.line, format!("the key {} occurs twice; keep one of them", quoted(&entry.key)));
            }
        }
    }
}

struct Reader<'t, 'p> {
    text: &'t str,
    /// Where each line except the first begins.
    lines: Vec<usize>,
    /// The path to the current value, such as `init_args.a[0]`, and its depth below the root.
    way: String,
    depth: usize,
    problems: &'p mut Problems,
}

impl<'t, 'p> Reader<'t, 'p> {
    fn new(text: &'t str, problems: &'p mut Problems) -> Self {
        let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1).collect();
        Self { text, lines, way: String::new(), depth: 0, problems }
    }

    /// The line of a slice of the text.
    fn line(&self, raw: &RawValue) -> usize {
        let offset = raw.get().as_ptr().addr().saturating_sub(self.text.as_ptr().addr());
        1 + self.lines.partition_point(|start| *start <= offset)
    }

    /// Reads a value below the current one. `step` adds the last part of the path.
    fn below(&mut self, raw: &'t RawValue, step: impl FnOnce(&mut String)) -> Node {
        let length = self.way.len();
        step(&mut self.way);
        self.depth += 1;
        let node = self.node(raw);
        self.depth -= 1;
        self.way.truncate(length);
        node
    }

    fn node(&mut self, raw: &'t RawValue) -> Node {
        let line = self.line(raw);
        let kind = if self.depth > DEEPEST {
            self.problems.add(line, format!("this is nested deeper than {DEEPEST} levels"));
            Kind::Broken
        } else {
            self.kind(raw).unwrap_or_else(|error| {
                // The syntax is checked, so only a number or an escape sequence can be wrong here.
                let what = if raw.get().starts_with('"') { "text" } else { "number" };
                self.problems.add(line, format!("this {what} cannot be read: {}", without_place(&error)));
                Kind::Broken
            })
        };
        Node { line, kind }
    }

    fn kind(&mut self, raw: &'t RawValue) -> Result<Kind, serde_json::Error> {
        let text = raw.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => Kind::Object(self.object(text)?),
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text)?;
                let item = |(n, item)| self.below(item, |way| way.push_str(&format!("[{n}]")));
                Kind::Array(items.into_iter().enumerate().map(item).collect())
            }
            Some(b'"') => Kind::String(serde_json::from_str(text)?),
            Some(b't' | b'f') => Kind::Bool(serde_json::from_str(text)?),
            Some(b'n') => Kind::Null,
            _ => match exact::find(text.as_bytes()) {
                Some(inexact) => {
                    self.problems.add(self.line(raw), inexact.below(&self.way).to_string());
                    Kind::Broken
                }
                None if text == "-0" => Kind::Number(0.into()),
                None => Kind::Number(serde_json::from_str(text)?),
            },
        })
    }

    fn object(&mut self, text: &'t str) -> Result<Vec<Entry>, serde_json::Error> {
        let mut entries = Vec::new();
        for (key, value) in serde_json::Deserializer::from_str(text).deserialize_map(Pairs)? {
            let line = self.line(key);
            match serde_json::from_str::<String>(key.get()) {
                Ok(name) => {
                    let value = self.below(value, |way| exact::push_key(way, &name));
                    entries.push(Entry { key: name, line, value });
                }
                Err(error) => self.problems.add(line, format!("this key cannot be read: {}", without_place(&error))),
            }
        }
        let mut unique = Vec::with_capacity(entries.len());
        Entry::merge(&mut unique, entries, self.problems);
        Ok(unique)
    }
}

/// An error's message without its line and column, which are relative to the slice.
/// The `}` or `]` at this place, if a comma stands before it.
fn extra_comma(text: &str, line: usize, column: usize) -> Option<char> {
    let begin: usize = text.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let (before, from) = text.split_at_checked(begin.checked_add(column.checked_sub(1)?)?)?;
    let end = from.chars().next().filter(|end| matches!(end, '}' | ']'))?;
    before.trim_end().ends_with(',').then_some(end)
}

fn without_place(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    message.strip_suffix(&place).unwrap_or(&message).to_owned()
}

/// An object's keys and values as raw text.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(&'de RawValue, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            pairs.push(pair);
        }
        Ok(pairs)
    }
}
