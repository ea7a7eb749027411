//! One Python module, parsed.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bivium_interface::MethodInfo;
use tree_sitter::{Node, ParseOptions, ParseState, Parser, Tree};

/// How long parsing one file may take: some are written to make it endless.
const TIME: Duration = Duration::from_secs(2);
/// Methods of one class, and statements of one module, that are looked at.
const MOST: usize = 10_000;
/// The longest signature, docstring or name that is kept, in characters.
const LONGEST: usize = 500;

/// A class, by its module and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) module: Vec<String>,
    pub(super) name: String,
}

/// A class's statement.
pub(super) struct Class {
    /// The names of what it derives from.
    pub(super) bases: Vec<String>,
    /// Its own functions.
    pub(super) methods: Vec<MethodInfo>,
}

/// What a name of a module means.
pub(super) enum Definition {
    Class(Class),
    Function(MethodInfo),
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

    pub(super) fn has_errors(&self) -> bool {
        self.tree.root_node().has_error()
    }

    fn text(&self, node: Node<'_>) -> &str {
        self.text.get(node.byte_range()).unwrap_or_default()
    }

    fn field(&self, node: Node<'_>, name: &str) -> &str {
        node.child_by_field_name(name).map(|child| self.text(child)).unwrap_or_default()
    }

    /// The statements that run when the module is imported, also those within `if` and `try`.
    fn statements(&self) -> Vec<Node<'_>> {
        let mut statements = Vec::new();
        let mut left = vec![self.tree.root_node()];
        while let Some(node) = left.pop() {
            match node.kind() {
                "class_definition" | "function_definition" | "import_from_statement" => statements.push(node),
                "module"
                | "decorated_definition"
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

    /// The last class or function of this name: it is the one that the name means in the end.
    pub(super) fn definition(&self, name: &str) -> Option<Definition> {
        let is_it = |node: &Node<'_>| node.kind() != "import_from_statement" && self.field(*node, "name") == name;
        let found = self.statements().into_iter().rfind(is_it)?;
        Some(match found.kind() {
            "class_definition" => Definition::Class(self.class(found)),
            _ => Definition::Function(self.function(found, 0)),
        })
    }

    fn class(&self, class: Node<'_>) -> Class {
        let bases = class.child_by_field_name("superclasses").map(children).unwrap_or_default();
        let bases = bases.into_iter().filter_map(|base| match base.kind() {
            "identifier" | "attribute" => Some(clipped(self.text(base))),
            // `Generic[T]`.
            "subscript" => Some(clipped(self.field(base, "value"))).filter(|base| !base.ends_with("Generic")),
            _ => None,
        });
        let body = class.child_by_field_name("body").map(children).unwrap_or_default();
        Class {
            bases: bases.collect(),
            methods: body.into_iter().filter_map(|statement| self.method(statement)).take(MOST).collect(),
        }
    }

    fn method(&self, statement: Node<'_>) -> Option<MethodInfo> {
        let (decorators, function) = match statement.kind() {
            "decorated_definition" => {
                let decorators = children(statement).into_iter().filter(|child| child.kind() == "decorator");
                let decorators: Vec<&str> =
                    decorators.map(|one| self.text(one).trim_start_matches('@').trim()).collect();
                (decorators, statement.child_by_field_name("definition")?)
            }
            _ => (Vec::new(), statement),
        };
        let is_property = |decorator: &&str| {
            let name = decorator.rsplit('.').next().unwrap_or_default();
            matches!(name, "property" | "cached_property" | "setter" | "getter" | "deleter")
        };
        if function.kind() != "function_definition" || decorators.iter().any(is_property) {
            return None;
        }
        // The object itself.
        Some(self.function(function, usize::from(!decorators.contains(&"staticmethod"))))
    }

    /// A function, without its first `own` parameters.
    fn function(&self, function: Node<'_>, own: usize) -> MethodInfo {
        let parameters = function.child_by_field_name("parameters").map(children).unwrap_or_default();
        let parameters = parameters.into_iter().filter(|parameter| parameter.kind() != "comment");
        let parameters: Vec<String> = parameters.skip(own).map(|parameter| on_one_line(self.text(parameter))).collect();
        let mut signature = format!("({})", parameters.join(", "));
        let returns = self.field(function, "return_type");
        if !returns.is_empty() {
            signature.push_str(&format!(" -> {}", on_one_line(returns)));
        }
        let info = MethodInfo::new(clipped(self.field(function, "name")));
        info.with_signature(clipped(&signature)).with_description(clipped(&self.docstring(function)))
    }

    /// The first line of a docstring.
    fn docstring(&self, function: Node<'_>) -> String {
        let first = function.child_by_field_name("body").and_then(|body| body.named_child(0));
        let string =
            first.filter(|first| first.kind() == "expression_statement").and_then(|first| first.named_child(0));
        let Some(string) = string.filter(|string| string.kind() == "string") else { return String::new() };
        let content = children(string).into_iter().find(|part| part.kind() == "string_content");
        let content = content.map(|content| self.text(content).trim()).unwrap_or_default();
        content.lines().next().unwrap_or_default().to_owned()
    }

    /// Whence a `from … import` has this name.
    pub(super) fn import(&self, name: &str) -> Option<Place> {
        let imports = self.statements().into_iter().filter(|node| node.kind() == "import_from_statement");
        imports.rev().find_map(|import| self.imported(import, name))
    }

    fn imported(&self, import: Node<'_>, name: &str) -> Option<Place> {
        let mut cursor = import.walk();
        let theirs = import.children_by_field_name("name", &mut cursor).find_map(|one| match one.kind() {
            "aliased_import" => (self.field(one, "alias") == name).then(|| self.field(one, "name")),
            _ => (self.text(one) == name).then_some(name),
        })?;
        let from = import.child_by_field_name("module_name")?;
        let text = on_one_line(self.text(from)).replace(' ', "");
        let absolute = text.trim_start_matches('.');
        let dots = text.len() - absolute.len();
        let mut module: Vec<String> = match dots {
            0 => Vec::new(),
            // One dot is the module's own package.
            dots => {
                let is_package = self.path.file_name().is_some_and(|name| name == "__init__.py");
                let up = dots - usize::from(is_package);
                self.name.get(..self.name.len().checked_sub(up)?)?.to_vec()
            }
        };
        module.extend(absolute.split('.').filter(|part| !part.is_empty()).map(str::to_owned));
        let is_name = |part: &String| part.chars().all(|c| c.is_alphanumeric() || c == '_');
        (!module.is_empty() && module.iter().all(is_name)).then(|| Place { module, name: theirs.to_owned() })
    }
}

fn children(node: Node<'_>) -> Vec<Node<'_>> {
    let mut cursor = node.walk();
    node.named_children(&mut cursor).collect()
}

fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn clipped(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
