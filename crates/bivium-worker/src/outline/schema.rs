//! [`Schemas`]: JSON Schema (draft 2020-12) for the types in a source, by the same rules as
//! `python/bivium_worker/methods.py`. A type that JSON Schema cannot describe is `{"$comment": TEXT}`.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::expression::Expression;
use super::reading::Reading;
use super::source::{Class, Definition, Field, Function, MOST_PARAMETERS, Module, ObjectPath, Parameter, Star};

const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// How deep nested types are described.
const DEEPEST: usize = 8;
/// The longest schema, as JSON.
const LONGEST: usize = 32 << 10;
/// The longest default value, as JSON.
const LONGEST_DEFAULT: usize = 1024;

const SETS: &[&str] = &["set", "frozenset", "Set", "FrozenSet", "AbstractSet", "MutableSet"];
const LISTS: &[&str] = &["list", "List", "deque", "Deque", "Sequence", "MutableSequence", "Iterable", "Collection"];
const OBJECTS: &[&str] = &["dict", "Dict", "defaultdict", "DefaultDict", "OrderedDict", "Mapping", "MutableMapping"];
const STREAMS: &[&str] = &["Iterator", "Generator", "AsyncIterator", "AsyncGenerator", "AsyncIterable"];
/// Classes that represent a file: those of `pathlib`, `os.PathLike`, the worker's own.
const FILES: &[&str] = &["Path", "PurePath", "PosixPath", "PurePosixPath", "PathLike", "Blob"];
/// The description in the schema of a blob.
const A_FILE: &str = "a file";
const ENUMS: &[&str] = &["Enum", "StrEnum", "IntEnum", "Flag", "IntFlag"];

/// Makes the schemas of one plugin's methods.
pub(super) struct Schemas<'r> {
    reading: &'r mut Reading,
    /// The classes that are being described: if a class contains itself, only its name is written.
    within: Vec<(Vec<String>, String)>,
    /// Whether the schema is for a result: a file in it is always a blob.
    is_result: bool,
}

/// The schema of a type, if it was found.
type Found = Option<Value>;

impl<'r> Schemas<'r> {
    pub(super) fn new(reading: &'r mut Reading) -> Self {
        Self { reading, within: Vec::new(), is_result: false }
    }

    /// The schema of a function's arguments as an object.
    pub(super) fn parameters(&mut self, module: &Module, function: &Function) -> Found {
        if function.parameters.len() >= MOST_PARAMETERS {
            return None;
        }
        let docs = super::docstring::parameters(&function.doc);
        let (mut properties, mut required) = (Map::new(), Vec::new());
        let mut more = Value::Bool(false);
        for Parameter { name, kind, default, star } in &function.parameters {
            let schema = kind.as_ref().map_or_else(|| json!({}), |kind| self.of(module, kind, 0));
            match star {
                Star::One => continue,
                Star::Two => {
                    more = if schema == json!({}) { true.into() } else { schema };
                    continue;
                }
                Star::None => {}
            }
            let schema = with_doc(schema, docs.get(name));
            let schema = match default {
                Some(default) => self.with_default(module, schema, default),
                None => {
                    required.push(Value::from(name.as_str()));
                    schema
                }
            };
            properties.insert(name.clone(), schema);
        }
        let mut schema = json!({"$schema": DRAFT, "type": "object", "properties": properties});
        if !required.is_empty() {
            set(&mut schema, "required", required.into());
        }
        set(&mut schema, "additionalProperties", more);
        fitting(schema)
    }

    /// The schema of a result, or of each item of a stream; and whether it is a stream.
    pub(super) fn result(&mut self, module: &Module, kind: &Expression) -> (Found, bool) {
        self.is_result = true;
        if let Expression::Text(text) = kind {
            return match module.expression(text) {
                Some(kind) if !matches!(kind, Expression::Text(_)) => self.result(module, &kind),
                _ => (None, false),
            };
        }
        let (outer, given) = match kind {
            Expression::Subscript(outer, given) => (outer.last_name(), given.as_slice()),
            other => (other.last_name(), &[][..]),
        };
        let outer = outer.unwrap_or_default();
        let (kind, streams) = match outer {
            name if STREAMS.contains(&name) => (given.first(), true),
            "Awaitable" | "Coroutine" if !given.is_empty() => (given.last(), false),
            _ => (Some(kind), false),
        };
        let schema = kind.map(|kind| self.of(module, kind, 0)).filter(|schema| *schema != json!({}));
        (schema.and_then(fitting), streams)
    }

    fn of(&mut self, module: &Module, kind: &Expression, depth: usize) -> Value {
        if depth > DEEPEST {
            return comment(kind);
        }
        match kind {
            Expression::None => json!({"type": "null"}),
            Expression::Text(text) => match module.expression(text) {
                Some(kind) if !matches!(kind, Expression::Text(_)) => self.of(module, &kind, depth + 1),
                _ => comment(kind),
            },
            Expression::Union(forms) => self.any_of(module, forms, depth),
            Expression::Subscript(outer, given) => {
                let name = outer.last_name().unwrap_or_default().to_owned();
                self.generic(module, outer, &name, given, depth).unwrap_or_else(|| comment(kind))
            }
            Expression::Name(name) => {
                let plain = plain(kind.last_name().unwrap_or_default());
                plain.or_else(|| self.class(module, name, depth)).unwrap_or_else(|| comment(kind))
            }
            _ => comment(kind),
        }
    }

    fn any_of(&mut self, module: &Module, forms: &[Expression], depth: usize) -> Value {
        let mut all: Vec<Value> = Vec::new();
        for form in forms {
            let found = match self.of(module, form, depth + 1) {
                // `A | B | C` is read as `(A | B) | C`.
                Value::Object(mut object) if object.len() == 1 && object.contains_key("anyOf") => {
                    object.remove("anyOf").and_then(|forms| forms.as_array().cloned()).unwrap_or_default()
                }
                one => vec![one],
            };
            for one in found {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        if all.len() == 1 { all.remove(0) } else { json!({"anyOf": all}) }
    }

    fn generic(
        &mut self,
        module: &Module,
        outer: &Expression,
        name: &str,
        given: &[Expression],
        depth: usize,
    ) -> Found {
        let first = given.first();
        let item = |schemas: &mut Self, kind: Option<&Expression>| {
            kind.map(|kind| schemas.of(module, kind, depth + 1)).filter(|schema| *schema != json!({}))
        };
        Some(match name {
            "Optional" => self.any_of(module, &[first?.clone(), Expression::None], depth),
            "Union" => self.any_of(module, given, depth),
            "Literal" => json!({"enum": given.iter().map(Expression::value).collect::<Option<Vec<_>>>()?}),
            "Annotated" => {
                let mut schema = self.of(module, first?, depth + 1);
                for said in given.iter().skip(1).filter_map(description) {
                    set(&mut schema, "description", said.into());
                }
                schema
            }
            "Required" | "NotRequired" | "ReadOnly" | "Final" | "ClassVar" => self.of(module, first?, depth + 1),
            "tuple" | "Tuple" if given.last() != Some(&Expression::Ellipsis) => {
                let items: Vec<Value> = given.iter().map(|one| self.of(module, one, depth + 1)).collect();
                json!({"type": "array", "minItems": items.len(), "maxItems": items.len(), "prefixItems": items})
            }
            name if SETS.contains(&name) || LISTS.contains(&name) || matches!(name, "tuple" | "Tuple") => {
                let mut schema = plain(name).unwrap_or_else(|| json!({"type": "array"}));
                if let Some(item) = item(self, first) {
                    set(&mut schema, "items", item);
                }
                schema
            }
            name if OBJECTS.contains(&name) => match item(self, given.get(1)) {
                Some(item) => json!({"type": "object", "additionalProperties": item}),
                None => json!({"type": "object"}),
            },
            _ => match outer {
                Expression::Name(name) => return self.class(module, name, depth),
                _ => return None,
            },
        })
    }

    /// The schema of a class whose source is found (a dataclass, an enum, a model of pydantic, a `TypedDict` or a named tuple), or of one
    /// that represents a file.
    fn class(&mut self, module: &Module, name: &str, depth: usize) -> Found {
        let place = ObjectPath { module: module.name.clone(), name: name.to_owned() };
        let Some((module, definition)) = self.reading.find(&place) else {
            return FILES.contains(&last(name)).then(|| self.file());
        };
        let Definition::Class(class) = definition else { return None };
        let key = (module.name.clone(), class.name.clone());
        if self.within.contains(&key) {
            return None;
        }
        self.within.push(key);
        let schema = self.record(&module, &class, depth);
        self.within.pop();
        schema
    }

    /// The schema of a file: a blob, and for a parameter also a path as a string.
    fn file(&self) -> Value {
        if self.is_result { blob() } else { json!({"anyOf": [blob(), {"type": "string"}]}) }
    }

    fn record(&mut self, module: &Rc<Module>, class: &Class, depth: usize) -> Found {
        let lineage = self.reading.lineage(module, class, &mut Vec::new());
        let bases: Vec<&str> = lineage.iter().flat_map(|(_, class)| &class.bases).map(|base| last(base)).collect();
        let is_of = |names: &[&str]| bases.iter().any(|base| names.contains(base));
        if is_of(ENUMS) {
            let values =
                class.fields.iter().filter(|field| field.kind.is_none()).map(|field| field.value.as_ref()?.value());
            return Some(json!({"enum": values.collect::<Option<Vec<_>>>()?}));
        }
        let is_tuple = class.bases.iter().any(|base| last(base) == "NamedTuple");
        let is_typed_dict = is_of(&["TypedDict"]);
        let is_dataclass = class.decorators.iter().any(|name| matches!(last(name), "dataclass" | "define" | "frozen"));
        if !is_tuple && !is_typed_dict && !is_dataclass && !is_of(&["BaseModel"]) {
            return None;
        }
        let (mut properties, mut required): (Map<String, Value>, BTreeMap<String, bool>) = Default::default();
        // Fields of base classes come first.
        for (module, class) in lineage.iter().rev() {
            for field in class.fields.iter().filter(|field| field.is_own()) {
                let (schema, is_required) = self.field(module, field, depth);
                let is_required = if is_typed_dict {
                    field.marked("Required") || class.is_total && !field.marked("NotRequired")
                } else {
                    is_required
                };
                required.insert(field.name.clone(), is_required);
                properties.insert(field.name.clone(), schema);
            }
        }
        if is_tuple {
            let item = |(name, mut schema): (String, Value)| {
                set(&mut schema, "title", name.into());
                if let Some(object) = schema.as_object_mut() {
                    object.remove("default");
                }
                schema
            };
            let items: Vec<Value> = properties.into_iter().map(item).collect();
            return Some(
                json!({"type": "array", "minItems": items.len(), "maxItems": items.len(), "prefixItems": items}),
            );
        }
        let docs = super::docstring::parameters(&class.doc);
        let properties: Map<String, Value> =
            properties.into_iter().map(|(name, schema)| (name.clone(), with_doc(schema, docs.get(&name)))).collect();
        let mut names: Vec<&String> = properties.keys().filter(|name| required.get(*name) == Some(&true)).collect();
        if is_typed_dict {
            names.sort();
        }
        let names: Value = names.into_iter().map(String::as_str).collect();
        let mut schema = json!({"type": "object", "title": class.name, "properties": properties});
        if names != json!([]) {
            set(&mut schema, "required", names);
        }
        Some(schema)
    }

    /// The schema of a field, and whether it is required.
    fn field(&mut self, module: &Module, field: &Field, depth: usize) -> (Value, bool) {
        let schema = field.kind.as_ref().map_or_else(|| json!({}), |kind| self.of(module, kind, depth + 1));
        let Some(value) = &field.value else { return (schema, true) };
        let Expression::Call(function, positional, named) = value else {
            return (self.with_default(module, schema, value), false);
        };
        let named = |name: &str| named.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        if !matches!(last(function), "field" | "Field") {
            return (schema, false);
        }
        let mut schema = schema;
        if let Some(Expression::Text(said)) = named("description") {
            set(&mut schema, "description", said.as_str().into());
        }
        // In pydantic's `Field` the default is the first argument, and `...` means no default.
        let default = named("default").or(positional.first()).filter(|default| **default != Expression::Ellipsis);
        match default {
            Some(default) => (self.with_default(module, schema, default), false),
            None => (schema, named("default_factory").or(named("factory")).is_none()),
        }
    }

    /// The schema with a default, if that is known and not too long.
    fn with_default(&mut self, module: &Module, mut schema: Value, default: &Expression) -> Value {
        let value = default.value().or_else(|| self.member(module, default));
        if let Some(value) = value.filter(|value| value.to_string().len() <= LONGEST_DEFAULT) {
            set(&mut schema, "default", value);
        }
        schema
    }

    /// The value of an enum's member, such as `Mode.FAST`.
    fn member(&mut self, module: &Module, expression: &Expression) -> Found {
        let Expression::Name(name) = expression else { return None };
        let (class, member) = name.rsplit_once('.')?;
        let place = ObjectPath { module: module.name.clone(), name: class.to_owned() };
        let Definition::Class(class) = self.reading.find(&place)?.1 else { return None };
        let is_enum = class.bases.iter().any(|base| ENUMS.contains(&last(base)));
        let field = class.fields.iter().find(|field| field.name == member).filter(|_| is_enum)?;
        field.value.as_ref()?.value()
    }
}

/// The schema of a type that is known by its name alone.
fn plain(name: &str) -> Found {
    Some(match name {
        "str" => json!({"type": "string"}),
        "int" => json!({"type": "integer"}),
        "float" => json!({"type": "number"}),
        "bool" => json!({"type": "boolean"}),
        "None" | "NoneType" => json!({"type": "null"}),
        "Any" | "object" => json!({}),
        "datetime" => json!({"type": "string", "format": "date-time"}),
        "date" => json!({"type": "string", "format": "date"}),
        "time" => json!({"type": "string", "format": "time"}),
        "timedelta" => json!({"type": "string", "format": "duration"}),
        "UUID" => json!({"type": "string", "format": "uuid"}),
        "Decimal" => json!({"type": "string"}),
        "bytes" => blob(),
        "tuple" | "Tuple" => json!({"type": "array"}),
        name if SETS.contains(&name) => json!({"type": "array", "uniqueItems": true}),
        name if LISTS.contains(&name) => json!({"type": "array"}),
        name if OBJECTS.contains(&name) => json!({"type": "object"}),
        _ => return None,
    })
}

fn blob() -> Value {
    json!({"type": "object", "properties": {"$blob": {"type": "integer", "minimum": 0}}, "required": ["$blob"],
        "description": A_FILE})
}

/// The description in an `Annotated` type: a text, or a call with a `description`.
fn description(said: &Expression) -> Option<&str> {
    let said = match said {
        Expression::Call(function, positional, _) if last(function) == "Doc" => positional.first()?,
        Expression::Call(_, _, named) => named.iter().find(|(key, _)| key == "description").map(|(_, value)| value)?,
        said => said,
    };
    match said {
        Expression::Text(text) => Some(text),
        _ => None,
    }
}

fn comment(kind: &Expression) -> Value {
    match kind {
        Expression::Name(text) | Expression::Other(text) | Expression::Text(text) => json!({"$comment": text}),
        Expression::Subscript(outer, _) => comment(outer),
        _ => json!({}),
    }
}

fn with_doc(mut schema: Value, doc: Option<&String>) -> Value {
    let says_nothing = schema.get("description").is_none_or(|said| said == A_FILE);
    if let Some(doc) = doc.filter(|_| says_nothing) {
        set(&mut schema, "description", doc.as_str().into());
    }
    schema
}

fn set(schema: &mut Value, key: &str, value: Value) {
    if let Some(object) = schema.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

/// The schema; None if it is too long.
fn fitting(schema: Value) -> Found {
    Some(schema).filter(|schema| schema.to_string().len() <= LONGEST)
}

/// The last part of a name with dots.
fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
