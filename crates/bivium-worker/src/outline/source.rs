//! One parsed Python module: its classes and functions, with their parameters.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bivium_interface::manifest::PythonKind;
use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

use super::docstring;
use super::expression::Expression;
use super::node::{LONGEST, children, clipped, on_one_line, text_of};

/// How long parsing one file may take: a file may be written to make parsing endless.
const TIME: Duration = Duration::from_secs(2);
/// How many methods and fields of one class, and statements of one module, are read.
const MOST: usize = 10_000;
/// How many parameters of one function are read; if there are as many, none of them is described.
pub(super) const MOST_PARAMETERS: usize = 256;
/// The longest docstring, in characters.
const LONGEST_DOC: usize = 8 << 10;
/// How many statements of a function are searched for a `yield`.
const MOST_STATEMENTS: usize = 100_000;

/// Names that a module uses to define other names while it runs.
const MAKERS: &[&str] = &["__getattr__", "exec", "globals", "setattr", "vars"];

/// The module and the name, which may have dots, of a class or a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ObjectPath {
    pub(super) module: Vec<String>,
    pub(super) name: String,
}

/// The definition of a name in a module.
#[derive(Debug, Clone)]
pub(super) enum Definition {
    Class(Class),
    Function(Function),
}

/// A class statement.
#[derive(Debug, Clone)]
pub(super) struct Class {
    pub(super) name: String,
    pub(super) doc: String,
    /// The names of its decorators.
    pub(super) decorators: Vec<String>,
    /// The names of its base classes.
    pub(super) bases: Vec<String>,
    /// Whether it has a metaclass, which may make objects in its own way.
    pub(super) has_metaclass: bool,
    /// Whether it has no `total=False`.
    pub(super) is_total: bool,
    pub(super) fields: Vec<Field>,
    /// Its own functions.
    pub(super) methods: Vec<Function>,
}

/// `NAME: KIND = VALUE` in a class's body.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) kind: Option<Expression>,
    pub(super) value: Option<Expression>,
}

/// A function statement.
#[derive(Debug, Clone)]
pub(super) struct Function {
    pub(super) name: String,
    /// The signature as it is written, without `self`.
    pub(super) signature: String,
    pub(super) doc: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) returns: Option<Expression>,
    /// Whether it has a `yield`.
    pub(super) yields: bool,
    /// Whether it has a decorator, which may change its parameters.
    pub(super) is_decorated: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) kind: Option<Expression>,
    pub(super) default: Option<Expression>,
    pub(super) star: Star,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Star {
    None,
    /// `*NAME`.
    One,
    /// `**NAME`.
    Two,
}

impl Field {
    /// Whether the field's type contains this mark.
    pub(super) fn marked(&self, mark: &str) -> bool {
        match &self.kind {
            Some(Expression::Subscript(outer, _)) => outer.last_name() == Some(mark),
            Some(kind) => kind.last_name() == Some(mark),
            None => false,
        }
    }

    /// Whether it is a field of the object that the constructor takes: not for `ClassVar` and `field(init=False)`.
    pub(super) fn is_own(&self) -> bool {
        let is_made = match &self.value {
            Some(Expression::Call(_, _, named)) => {
                named.iter().any(|(key, value)| key == "init" && *value == Expression::Plain(false.into()))
            }
            _ => false,
        };
        self.kind.is_some() && !is_made && !self.marked("ClassVar") && !self.name.starts_with('_')
    }
}

pub(super) struct Module {
    pub(super) name: Vec<String>,
    pub(super) path: PathBuf,
    text: String,
    tree: Tree,
}

impl Module {
    pub(super) fn parse(name: Vec<String>, path: PathBuf, text: String) -> Result<Self, String> {
        let mut parser = Parser::new();
        let language = tree_sitter_python::LANGUAGE.into();
        parser.set_language(&language).map_err(|error| format!("there is no parser for Python: {error}"))?;
        let end = Instant::now() + TIME;
        let mut look =
            |_: &ParseState| if Instant::now() < end { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
        let options = ParseOptions::new().progress_callback(&mut look);
        let mut read = |at: usize, _| text.as_bytes().get(at..).unwrap_or_default();
        match parser.parse_with_options(&mut read, None, Some(options)) {
            Some(tree) => Ok(Self { name, path, text, tree }),
            None => Err(format!("{} was not parsed within {} s", path.display(), TIME.as_secs())),
        }
    }

    /// Parses an expression in a string: a type in quotation marks.
    pub(super) fn expression(&self, text: &str) -> Option<Expression> {
        let text: String = text.chars().take(LONGEST).collect();
        let module = Self::parse(self.name.clone(), self.path.clone(), text).ok()?;
        let statement = module.tree.root_node().named_child(0)?;
        (statement.kind() == "expression_statement").then(|| Expression::of(&module.text, statement))
    }

    pub(super) fn has_errors(&self) -> bool {
        self.tree.root_node().has_error()
    }

    pub(super) fn text(&self, node: Node<'_>) -> &str {
        text_of(&self.text, node)
    }

    pub(super) fn field(&self, node: Node<'_>, name: &str) -> &str {
        node.child_by_field_name(name).map(|child| self.text(child)).unwrap_or_default()
    }

    /// The statements that run when the module is imported, also those within `if` and `try`.
    pub(super) fn statements(&self) -> Vec<Node<'_>> {
        let mut statements = Vec::new();
        let mut left = vec![self.tree.root_node()];
        while let Some(node) = left.pop() {
            match node.kind() {
                "class_definition" | "function_definition" | "import_from_statement" | "import_statement" => {
                    statements.push(node);
                }
                // Only short ones such as `Name = other.Name`, not long tables.
                "assignment" => {
                    let kind = |field: &str| node.child_by_field_name(field).map_or("", |part| part.kind());
                    if kind("left") == "identifier" && matches!(kind("right"), "identifier" | "attribute") {
                        statements.push(node);
                    }
                }
                "module"
                | "decorated_definition"
                | "expression_statement"
                | "if_statement"
                | "elif_clause"
                | "else_clause"
                | "try_statement"
                | "except_clause"
                | "finally_clause"
                | "with_statement"
                | "block" => left.extend(children(node).into_iter().rev()),
                _ => {}
            }
            if statements.len() > MOST {
                break;
            }
        }
        statements
    }

    /// The last class or function with this name, which is the valid one.
    pub(super) fn definition(&self, name: &str) -> Option<Definition> {
        let is_it = |node: &Node<'_>| {
            matches!(node.kind(), "class_definition" | "function_definition") && self.field(*node, "name") == name
        };
        let found = self.statements().into_iter().rfind(is_it)?;
        Some(match found.kind() {
            "class_definition" => Definition::Class(self.class(found)),
            _ => Definition::Function(self.function(found, 0)),
        })
    }

    /// Whether a name occurs anywhere in the source, also in a string, or the module defines names while it runs.
    pub(super) fn mentions(&self, name: &str) -> bool {
        let mut left = vec![self.tree.root_node()];
        for _ in 0..MOST_STATEMENTS {
            let Some(node) = left.pop() else { return false };
            let text = matches!(node.kind(), "identifier" | "string_content").then(|| self.text(node));
            if text.is_some_and(|text| text == name || MAKERS.contains(&text)) {
                return true;
            }
            left.extend(children(node));
        }
        true
    }

    /// The names of its classes or functions, by `kind`, and those that it imports.
    pub(super) fn names(&self, kind: PythonKind) -> Vec<String> {
        let mut names = Vec::new();
        for statement in self.statements() {
            match (statement.kind(), kind) {
                ("class_definition", PythonKind::Class | PythonKind::Either)
                | ("function_definition", PythonKind::Function | PythonKind::Either) => {
                    names.push(clipped(self.field(statement, "name")));
                }
                ("import_from_statement", _) => names.extend(self.imports(statement)),
                _ => {}
            }
        }
        names
    }

    fn class(&self, class: Node<'_>) -> Class {
        let arguments = class.child_by_field_name("superclasses").map(children).unwrap_or_default();
        let bases = arguments.iter().filter_map(|base| match base.kind() {
            "identifier" | "attribute" => Some(clipped(self.text(*base))),
            // `Generic[T]`.
            "subscript" => Some(clipped(self.field(*base, "value"))).filter(|base| !base.ends_with("Generic")),
            _ => None,
        });
        let is_metaclass = |argument: &Node<'_>| {
            argument.kind() == "keyword_argument"
                && self.field(*argument, "name") == "metaclass"
                && !matches!(self.field(*argument, "value"), "ABCMeta" | "abc.ABCMeta")
        };
        let is_open = |argument: &Node<'_>| {
            argument.kind() == "keyword_argument"
                && self.field(*argument, "name") == "total"
                && self.field(*argument, "value") == "False"
        };
        let body = class.child_by_field_name("body");
        let statements = body.map(children).unwrap_or_default();
        let decorators = class.parent().filter(|parent| parent.kind() == "decorated_definition");
        Class {
            name: clipped(self.field(class, "name")),
            doc: self.docstring(class),
            decorators: decorators.map(|node| self.decorators(node)).unwrap_or_default(),
            bases: bases.collect(),
            has_metaclass: arguments.iter().any(is_metaclass),
            is_total: !arguments.iter().any(is_open),
            fields: statements.iter().filter_map(|statement| self.class_field(*statement)).take(MOST).collect(),
            methods: statements.iter().filter_map(|statement| self.method(*statement)).take(MOST).collect(),
        }
    }

    fn class_field(&self, statement: Node<'_>) -> Option<Field> {
        let assignment = statement.named_child(0).filter(|node| node.kind() == "assignment")?;
        let name = assignment.child_by_field_name("left").filter(|left| left.kind() == "identifier")?;
        let part = |field: &str| assignment.child_by_field_name(field).map(|node| Expression::of(&self.text, node));
        Some(Field { name: clipped(self.text(name)), kind: part("type"), value: part("right") })
    }

    /// The names of the decorators of a class or a function.
    fn decorators(&self, definition: Node<'_>) -> Vec<String> {
        let decorators = children(definition).into_iter().filter(|child| child.kind() == "decorator");
        let name = |text: &str| text.trim_start_matches('@').split('(').next().unwrap_or_default().trim().to_owned();
        decorators.map(|one| clipped(&name(self.text(one)))).collect()
    }

    fn method(&self, statement: Node<'_>) -> Option<Function> {
        let (decorators, function) = match statement.kind() {
            "decorated_definition" => (self.decorators(statement), statement.child_by_field_name("definition")?),
            _ => (Vec::new(), statement),
        };
        let is_property = |decorator: &String| {
            let name = decorator.rsplit('.').next().unwrap_or_default();
            matches!(name, "property" | "cached_property" | "setter" | "getter" | "deleter")
        };
        if function.kind() != "function_definition" || decorators.iter().any(is_property) {
            return None;
        }
        // The parameter `self` or `cls`.
        let own = usize::from(!decorators.iter().any(|name| name == "staticmethod"));
        Some(Function { is_decorated: !decorators.is_empty(), ..self.function(function, own) })
    }

    /// A function, without its first `own` parameters.
    fn function(&self, function: Node<'_>, own: usize) -> Function {
        let parameters = function.child_by_field_name("parameters").map(children).unwrap_or_default();
        let parameters = parameters.into_iter().filter(|parameter| parameter.kind() != "comment").skip(own);
        let parameters: Vec<Node<'_>> = parameters.collect();
        let written: Vec<String> = parameters.iter().map(|parameter| on_one_line(self.text(*parameter))).collect();
        let mut signature = format!("({})", written.join(", "));
        let returns = function.child_by_field_name("return_type");
        if let Some(returns) = returns {
            signature.push_str(&format!(" -> {}", on_one_line(self.text(returns))));
        }
        let body = function.child_by_field_name("body");
        Function {
            name: clipped(self.field(function, "name")),
            signature: clipped(&signature),
            doc: self.docstring(function),
            parameters: parameters.iter().take(MOST_PARAMETERS).filter_map(|node| self.parameter(*node)).collect(),
            returns: returns.map(|node| Expression::of(&self.text, node)),
            yields: body.is_some_and(yields),
            is_decorated: false,
        }
    }

    fn parameter(&self, node: Node<'_>) -> Option<Parameter> {
        let name = match node.kind() {
            "default_parameter" | "typed_default_parameter" => node.child_by_field_name("name")?,
            "typed_parameter" => node.named_child(0)?,
            _ => node,
        };
        let star = match name.kind() {
            "identifier" => Star::None,
            "list_splat_pattern" => Star::One,
            "dictionary_splat_pattern" => Star::Two,
            // `*` and `/`.
            _ => return None,
        };
        let part = |field: &str| node.child_by_field_name(field).map(|node| Expression::of(&self.text, node));
        let name = clipped(self.text(name).trim_start_matches('*').trim());
        Some(Parameter { name, kind: part("type"), default: part("value"), star })
    }

    /// The docstring of a class or a function, without the indentation of its source.
    fn docstring(&self, definition: Node<'_>) -> String {
        let first = definition.child_by_field_name("body").and_then(|body| body.named_child(0));
        let string =
            first.filter(|first| first.kind() == "expression_statement").and_then(|first| first.named_child(0));
        let Some(string) = string.filter(|string| string.kind() == "string") else { return String::new() };
        let content = children(string).into_iter().find(|part| part.kind() == "string_content");
        let content: String =
            content.map(|content| self.text(content)).unwrap_or_default().chars().take(LONGEST_DOC).collect();
        docstring::clean(&content)
    }
}

/// Whether a function's body has a `yield` of its own.
fn yields(body: Node<'_>) -> bool {
    let mut left = vec![body];
    let mut looked_at = 0;
    while let Some(node) = left.pop() {
        looked_at += 1;
        match node.kind() {
            "yield" => return true,
            "function_definition" | "class_definition" | "lambda" | "string" => {}
            _ => left.extend(children(node)),
        }
        if looked_at > MOST_STATEMENTS {
            break;
        }
    }
    false
}
