//! Finds where the names come from that a module does not define itself.

use tree_sitter::Node;

use super::node::{clipped, on_one_line};
use super::source::{Module, ObjectPath};

impl Module {
    /// The places where a name of this module may be defined, the most likely first. The name may have dots, if its first part
    /// is an imported module.
    pub(super) fn elsewhere(&self, name: &str) -> Vec<ObjectPath> {
        let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
        let mut places = Vec::new();
        for statement in self.statements().into_iter().rev() {
            match statement.kind() {
                "import_from_statement" => places.extend(self.imported(statement, first).map(|place| match rest {
                    None => place,
                    // `from package import module`.
                    Some(rest) => {
                        let module = place.module.into_iter().chain([place.name]).collect();
                        ObjectPath { module, name: rest.to_owned() }
                    }
                })),
                "import_statement" => places.extend(self.imported_module(statement, name)),
                "assignment" if rest.is_none() && self.field(statement, "left") == name => {
                    // `Name = other.Name`.
                    let other = on_one_line(self.field(statement, "right")).replace(' ', "");
                    if other != name {
                        places.push(ObjectPath { module: self.name.clone(), name: other });
                    }
                }
                _ => {}
            }
        }
        places
    }

    /// The modules from which all names are imported: `from MODULE import *`.
    pub(super) fn stars(&self) -> Vec<Vec<String>> {
        let imports = self.statements().into_iter().filter(|node| node.kind() == "import_from_statement");
        let is_star = |import: &Node<'_>| {
            let mut cursor = import.walk();
            import.named_children(&mut cursor).any(|child| child.kind() == "wildcard_import")
        };
        imports.filter(is_star).filter_map(|import| self.origin(import)).collect()
    }

    /// Where a `from … import` takes this name from.
    fn imported(&self, import: Node<'_>, name: &str) -> Option<ObjectPath> {
        let mut cursor = import.walk();
        let original = import.children_by_field_name("name", &mut cursor).find_map(|one| match one.kind() {
            "aliased_import" => (self.field(one, "alias") == name).then(|| self.field(one, "name")),
            _ => (self.text(one) == name).then_some(name),
        })?;
        Some(ObjectPath { module: self.origin(import)?, name: original.to_owned() })
    }

    /// The names that a `from … import` adds to the module.
    pub(super) fn imports(&self, import: Node<'_>) -> Vec<String> {
        let mut cursor = import.walk();
        let names = import.children_by_field_name("name", &mut cursor).map(|one| match one.kind() {
            "aliased_import" => self.field(one, "alias"),
            _ => self.text(one),
        });
        names.map(clipped).collect()
    }

    /// The meaning of a name with dots after `import a.b` or `import a.b as c`.
    fn imported_module(&self, import: Node<'_>, name: &str) -> Option<ObjectPath> {
        let mut cursor = import.walk();
        import.children_by_field_name("name", &mut cursor).find_map(|one| {
            let (prefix, module) = match one.kind() {
                "aliased_import" => (self.field(one, "alias"), self.field(one, "name")),
                _ => (self.text(one), self.text(one)),
            };
            let rest = name.strip_prefix(prefix)?.strip_prefix('.')?;
            Some(ObjectPath { module: names(module)?, name: rest.to_owned() })
        })
    }

    /// The module that a `from … import` names.
    fn origin(&self, import: Node<'_>) -> Option<Vec<String>> {
        let from = import.child_by_field_name("module_name")?;
        let text = on_one_line(self.text(from)).replace(' ', "");
        let absolute = text.trim_start_matches('.');
        let dots = text.len() - absolute.len();
        let mut module: Vec<String> = match dots {
            0 => Vec::new(),
            // One dot means the module's own package.
            dots => {
                let is_package = self.path.file_name().is_some_and(|name| name == "__init__.py");
                let up = dots - usize::from(is_package);
                self.name.get(..self.name.len().checked_sub(up)?)?.to_vec()
            }
        };
        if !absolute.is_empty() {
            module.extend(names(absolute)?);
        }
        Some(module).filter(|module| !module.is_empty())
    }
}

/// The parts of a module's name.
fn names(text: &str) -> Option<Vec<String>> {
    let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
    let parts: Vec<&str> = text.split('.').map(str::trim).collect();
    parts.iter().all(|part| is_name(part)).then(|| parts.into_iter().map(str::to_owned).collect())
}
