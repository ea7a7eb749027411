//! [`Expression`]: a type or a default value in a source, as far as it can be understood without running it.

use serde_json::{Map, Number, Value};
use tree_sitter::Node;

use super::node::{children, clipped, on_one_line, text_of};

/// How deep expressions may nest to be understood.
const DEEPEST: usize = 24;
/// How many parts of one expression are read.
const MOST: usize = 300;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    /// A name, which may have dots.
    Name(String),
    /// `LEFT[A, B]`.
    Subscript(Box<Expression>, Vec<Expression>),
    /// `A | B`.
    Union(Vec<Expression>),
    /// A function's name, with the arguments by position and by name.
    Call(String, Vec<Expression>, Vec<(String, Expression)>),
    Text(String),
    /// A number, true or false.
    Plain(Value),
    None,
    Ellipsis,
    /// A list or a tuple.
    List(Vec<Expression>),
    Object(Vec<(Expression, Expression)>),
    /// Anything else, as it is written.
    Other(String),
}

impl Expression {
    pub(super) fn of(source: &str, node: Node<'_>) -> Self {
        Walk { source, left: MOST }.expression(node, 0)
    }

    /// The value, if it is plain data that JSON can represent.
    pub(super) fn value(&self) -> Option<Value> {
        Some(match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Plain(value) => value.clone(),
            Self::None => Value::Null,
            Self::List(items) => items.iter().map(Self::value).collect::<Option<_>>()?,
            Self::Object(entries) => {
                let entry = |(key, value): &(Self, Self)| match key {
                    Self::Text(key) => Some((key.clone(), value.value()?)),
                    _ => None,
                };
                let object: Map<String, Value> = entries.iter().map(entry).collect::<Option<_>>()?;
                (object.len() == entries.len()).then_some(object.into())?
            }
            _ => return None,
        })
    }

    /// A name's last part: `Optional` for `typing.Optional`.
    pub(super) fn last_name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => name.rsplit('.').next(),
            _ => None,
        }
    }
}

struct Walk<'s> {
    source: &'s str,
    left: usize,
}

impl Walk<'_> {
    fn expression(&mut self, node: Node<'_>, depth: usize) -> Expression {
        let other = || Expression::Other(clipped(&on_one_line(text_of(self.source, node))));
        if depth > DEEPEST || self.left == 0 || node.has_error() {
            return other();
        }
        self.left -= 1;
        let inner = |walk: &mut Self, node| walk.expression(node, depth + 1);
        match node.kind() {
            "type" | "parenthesized_expression" | "expression_statement" => match children(node).as_slice() {
                [one] => inner(self, *one),
                _ => other(),
            },
            "identifier" => Expression::Name(clipped(text_of(self.source, node))),
            "attribute" | "member_type" => {
                let text: String = text_of(self.source, node).split_whitespace().collect();
                let is_dotted = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'));
                if is_dotted { Expression::Name(clipped(&text)) } else { other() }
            }
            "none" => Expression::None,
            "true" => Expression::Plain(true.into()),
            "false" => Expression::Plain(false.into()),
            "ellipsis" => Expression::Ellipsis,
            "integer" | "float" => number(text_of(self.source, node)).map_or_else(other, Expression::Plain),
            "unary_operator" => {
                let text: String = text_of(self.source, node).split_whitespace().collect();
                let number = text.strip_prefix('-').and_then(|_| number(&text));
                number.map_or_else(other, Expression::Plain)
            }
            "string" => text(self.source, node).map_or_else(other, Expression::Text),
            "concatenated_string" => {
                let parts: Option<Vec<String>> =
                    children(node).into_iter().map(|part| text(self.source, part)).collect();
                parts.map_or_else(other, |parts| Expression::Text(parts.concat()))
            }
            "list" | "tuple" => Expression::List(self.all(children(node), depth)),
            "dictionary" => {
                let pair = |walk: &mut Self, pair: Node<'_>| {
                    let [key, value] = ["key", "value"].map(|field| pair.child_by_field_name(field));
                    Some((walk.expression(key?, depth + 1), walk.expression(value?, depth + 1)))
                };
                let pairs: Option<Vec<_>> = children(node).into_iter().map(|node| pair(self, node)).collect();
                pairs.map_or_else(other, Expression::Object)
            }
            "subscript" | "generic_type" => {
                let mut parts = children(node).into_iter();
                let Some(left) = parts.next() else { return other() };
                let arguments = parts.flat_map(|part| match part.kind() {
                    "type_parameter" => children(part),
                    // `Dict[(str, int)]` is the same as `Dict[str, int]`, and `Tuple[()]` has no arguments.
                    "tuple" => children(part),
                    _ => vec![part],
                });
                let arguments = arguments.collect();
                Expression::Subscript(Box::new(inner(self, left)), self.all(arguments, depth))
            }
            "union_type" => Expression::Union(self.all(children(node), depth)),
            "binary_operator" if node.child_by_field_name("operator").is_some_and(|one| one.kind() == "|") => {
                let sides = ["left", "right"].into_iter().filter_map(|field| node.child_by_field_name(field));
                Expression::Union(self.all(sides.collect(), depth))
            }
            "call" => self.call(node, depth).unwrap_or_else(other),
            _ => other(),
        }
    }

    fn all(&mut self, nodes: Vec<Node<'_>>, depth: usize) -> Vec<Expression> {
        let nodes = nodes.into_iter().filter(|node| node.kind() != "comment").take(MOST);
        nodes.map(|node| self.expression(node, depth + 1)).collect()
    }

    fn call(&mut self, node: Node<'_>, depth: usize) -> Option<Expression> {
        let Expression::Name(function) = self.expression(node.child_by_field_name("function")?, depth + 1) else {
            return None;
        };
        let (mut positional, mut named) = (Vec::new(), Vec::new());
        for argument in children(node.child_by_field_name("arguments")?).into_iter().take(MOST) {
            if argument.kind() == "keyword_argument" {
                let [name, value] = ["name", "value"].map(|field| argument.child_by_field_name(field));
                named.push((clipped(text_of(self.source, name?)), self.expression(value?, depth + 1)));
            } else {
                positional.push(self.expression(argument, depth + 1));
            }
        }
        Some(Expression::Call(function, positional, named))
    }
}

/// A decimal number that has the same value in JSON and in Python.
fn number(text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    let plain = digits.strip_prefix('-').unwrap_or(&digits);
    if !plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return digits.parse::<i64>().map(Value::from).or_else(|_| digits.parse::<u64>().map(Value::from)).ok();
    }
    Number::from_f64(digits.parse().ok()?).map(Value::Number)
}

/// The text of a string; None if parts of it are computed.
fn text(source: &str, node: Node<'_>) -> Option<String> {
    let parts = children(node);
    let start = parts.first().filter(|part| part.kind() == "string_start").map(|part| text_of(source, *part))?;
    let prefix: String = start.chars().filter(|c| c.is_alphabetic()).flat_map(char::to_lowercase).collect();
    if !matches!(prefix.as_str(), "" | "r" | "u") {
        return None;
    }
    let contents: Vec<Node<'_>> = parts.into_iter().filter(|part| part.kind() == "string_content").collect();
    let text: String = contents.into_iter().map(|content| text_of(source, content)).collect();
    if prefix == "r" { Some(text) } else { unescaped(&text) }
}

/// A text with its escapes replaced; None if one of them is of a rare kind.
fn unescaped(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        plain.push(match c {
            '\\' => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                c @ ('\\' | '"' | '\'') => c,
                _ => return None,
            },
            c => c,
        });
    }
    Some(plain)
}
