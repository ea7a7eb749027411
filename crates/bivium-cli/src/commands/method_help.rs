//! MethodHelp a method is called: its parameters, and a command line. The command line can be run unchanged if no parameter is a file.

use bivium::manifest::RuntimeKind;
use bivium::{Call, MethodInfo};
use serde_json::{Map, Value, json};

use crate::args::Global;
use crate::output::on_one_line;
use crate::property::{forms, is_file, resolved};

/// MethodHelp deep an example value nests.
const DEEPEST: usize = 6;
/// MethodHelp deep a type is shown.
const SHOWN: usize = 4;
/// MethodHelp many keys of an object are shown.
const MOST_FIELDS: usize = 8;
/// MethodHelp many command lines are shown for a method.
const MOST_LINES: usize = 8;

/// MethodHelp the methods of one plugin are called.
pub(super) struct MethodHelp<'a> {
    /// The program's name, and the global options that it needs to find the plugin.
    program: Vec<&'a str>,
    plugin: &'a str,
    runtime: RuntimeKind,
    /// Whether the plugin loads, as far as is known.
    loads: bool,
}

impl<'a> MethodHelp<'a> {
    /// `plugin` is the plugin's name as given on the command line.
    pub(super) fn new(global: &'a Global, plugin: &'a str, runtime: RuntimeKind, loads: bool) -> Self {
        let manifests = global.manifests.iter().filter_map(|path| path.to_str());
        let program = ["bivium"].into_iter().chain(manifests.flat_map(|path| ["--manifests", path])).collect();
        Self { program, plugin, runtime, loads }
    }

    /// All methods, `execute` first. A component of `bivium:plugin` always has that method, even if it does not list it.
    pub(super) fn all(&self, methods: &[MethodInfo]) -> Vec<MethodInfo> {
        let mut all = methods.to_vec();
        let is_typed = methods.iter().any(|method| method.parameters.is_some());
        let is_told = methods.iter().any(|method| method.name == Call::EXECUTE);
        if self.runtime == RuntimeKind::Wasm && !is_typed && !is_told {
            all.push(MethodInfo::new(Call::EXECUTE));
        }
        all.sort_by_key(|method| method.name != Call::EXECUTE);
        all
    }

    /// A command line for each set of arguments that the method takes.
    pub(super) fn command_lines(&self, method: &MethodInfo) -> Vec<String> {
        if !self.loads {
            return Vec::new();
        }
        let sets = alternatives(method.parameters.as_ref());
        let lines = |method: &MethodInfo| {
            sets.iter().map(|names| command_line(&self.program, self.plugin, method, names)).collect()
        };
        let mut all: Vec<String> = Vec::new();
        if method.streams && method.also_runs {
            all = lines(&method.clone().with_streams(false));
        }
        all.extend::<Vec<String>>(lines(method));
        all
    }

    /// All methods, each with a `command`, and with `commands` if there are several.
    pub(super) fn as_json(&self, methods: &[MethodInfo]) -> Value {
        let one = |method: &MethodInfo| {
            let mut one = json!(method);
            if let Some(object) = one.as_object_mut().filter(|_| method.not_callable.is_none()) {
                let lines = self.command_lines(method);
                object.extend(lines.first().map(|first| ("command".to_owned(), first.as_str().into())));
                object.extend((lines.len() > 1).then(|| ("commands".to_owned(), lines.into())));
            }
            one
        };
        self.all(methods).iter().map(one).collect()
    }
}

/// One parameter, as it is shown.
#[derive(Debug, PartialEq)]
pub(super) struct Parameter {
    pub(super) name: String,
    /// Its type, in words.
    pub(super) kind: String,
    /// Its value if it is left out; none if it is required or has no known default.
    pub(super) default: Option<Value>,
    pub(super) is_required: bool,
    /// Its description.
    pub(super) doc: String,
}

/// The parameters of a method in their order; `None` if they are not known.
pub(super) fn parameters(method: &MethodInfo) -> Option<Vec<Parameter>> {
    let schema = method.parameters.as_ref()?;
    let properties = schema.get("properties")?.as_object()?;
    let parameter = |(name, property): (&String, &Value)| Parameter {
        name: on_one_line(name),
        kind: kind(schema, property, 0),
        default: property.get("default").cloned(),
        is_required: is_required(schema, name),
        doc: on_one_line(property.get("description").and_then(Value::as_str).unwrap_or_default()),
    };
    Some(properties.iter().map(parameter).collect())
}

impl Parameter {
    /// On one line: `text: string (required)  What is masked.`
    pub(super) fn line(&self) -> String {
        let how = match (&self.default, self.is_required) {
            (Some(default), _) => format!(" = {default}"),
            (None, true) => " (required)".to_owned(),
            (None, false) => " (optional)".to_owned(),
        };
        format!("{}: {}{how}  {}", self.name, self.kind, self.doc).trim_end().to_owned()
    }
}

fn is_required(schema: &Value, name: &str) -> bool {
    let required = schema.get("required").and_then(Value::as_array);
    required.is_some_and(|required| required.iter().any(|one| one == name))
}

/// The sets of argument names of which a call must give one, beside those that are always required: in the schema, each form in
/// `oneOf` or `anyOf` has a `required`.
fn alternatives(schema: Option<&Value>) -> Vec<Vec<&str>> {
    let forms = schema.map(forms).unwrap_or_default();
    let sets: Vec<Vec<&str>> = forms.iter().take(MOST_LINES).filter_map(required).collect();
    if sets.is_empty() { vec![Vec::new()] } else { sets }
}

fn required(form: &Value) -> Option<Vec<&str>> {
    Some(form.get("required")?.as_array()?.iter().filter_map(Value::as_str).collect())
}

/// A command line that calls the method with the required arguments and those in `names`. Words in capitals (FILE) are to be replaced.
/// `program` is the program's name and its global options.
pub(super) fn command_line(program: &[&str], plugin: &str, method: &MethodInfo, names: &[&str]) -> String {
    let verb = if method.streams { "stream" } else { "run" };
    let mut words: Vec<String> = program.iter().chain(&[verb, plugin]).map(|word| quoted(word)).collect();
    if method.name != Call::EXECUTE {
        words.extend(["--method".to_owned(), quoted(&method.name)]);
    }
    let schema = method.parameters.as_ref();
    let properties = schema.and_then(|schema| schema.get("properties")?.as_object());
    if let (Some(schema), Some(properties)) = (schema, properties) {
        let is_given = |name: &str| is_required(schema, name) || names.contains(&name);
        let required = properties.iter().filter(|(name, _)| is_given(name));
        words.extend(required.map(|(name, property)| quoted(&assignment(schema, name, property))));
    }
    words.join(" ")
}

fn assignment(schema: &Value, name: &str, property: &Value) -> String {
    if is_file(property) {
        return format!("{name}@=FILE");
    }
    match example(schema, property, 0) {
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}:={other}"),
    }
}

/// A type in words.
fn kind(schema: &Value, property: &Value, depth: usize) -> String {
    let property = resolved(schema, property);
    if depth > SHOWN {
        return "…".to_owned();
    }
    if property.pointer("/properties/$blob").is_some() {
        return "file".to_owned();
    }
    if let Some(values) = property.get("enum").and_then(Value::as_array) {
        return values.iter().map(Value::to_string).collect::<Vec<_>>().join(" | ");
    }
    if let Some(value) = property.get("const") {
        return value.to_string();
    }
    let forms = forms(property);
    if !forms.is_empty() {
        let mut kinds: Vec<String> = forms.iter().map(|form| kind(schema, form, depth + 1)).collect();
        kinds.dedup();
        return kinds.join(" | ");
    }
    if property.get("contentEncoding").is_some() {
        return "base64".to_owned();
    }
    match property.get("type") {
        Some(Value::String(name)) if name == "array" => match property.get("items") {
            Some(items) if items.is_object() => format!("array of {}", kind(schema, items, depth + 1)),
            _ => "array".to_owned(),
        },
        Some(Value::String(name)) if name == "object" => fields(schema, property, depth),
        Some(Value::String(name)) => on_one_line(name),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).map(on_one_line).collect::<Vec<_>>().join(" | ")
        }
        _ => on_one_line(property.get("$comment").and_then(Value::as_str).unwrap_or("anything")),
    }
}

/// An object's keys with their types: `{width: integer, tall?: boolean}`.
fn fields(schema: &Value, property: &Value, depth: usize) -> String {
    let properties = property.get("properties").and_then(Value::as_object);
    let Some(properties) = properties.filter(|properties| !properties.is_empty()) else { return "object".to_owned() };
    let field = |(name, part): (&String, &Value)| {
        let optional = if is_required(property, name) { "" } else { "?" };
        format!("{}{optional}: {}", on_one_line(name), kind(schema, part, depth + 1))
    };
    let mut fields: Vec<String> = properties.iter().take(MOST_FIELDS).map(field).collect();
    if properties.len() > MOST_FIELDS {
        fields.push("…".to_owned());
    }
    format!("{{{}}}", fields.join(", "))
}

/// An example of a value that fits the schema.
fn example(schema: &Value, property: &Value, depth: usize) -> Value {
    let property = resolved(schema, property);
    for key in ["default", "const"] {
        if let Some(value) = property.get(key) {
            return value.clone();
        }
    }
    for key in ["examples", "enum"] {
        if let Some(value) = property.get(key).and_then(Value::as_array).and_then(|values| values.first()) {
            return value.clone();
        }
    }
    if depth > DEEPEST {
        return Value::Null;
    }
    if let Some(form) = forms(property).iter().find(|form| form.get("type") != Some(&"null".into())) {
        return example(schema, form, depth + 1);
    }
    let least = property.get("minimum").or_else(|| property.get("exclusiveMinimum"));
    let name = match property.get("type") {
        Some(Value::Array(names)) => names.first(),
        name => name,
    };
    match name.and_then(Value::as_str) {
        Some("integer" | "number") => {
            let most = property.get("maximum").filter(|most| most.as_f64().is_some_and(|most| most < 1.0));
            let least = least.filter(|least| least.as_f64().is_some_and(|least| least > 1.0));
            least.or(most).cloned().unwrap_or(1.into())
        }
        Some("boolean") => true.into(),
        Some("null") => Value::Null,
        Some("array") => {
            let fixed = property.get("prefixItems").and_then(Value::as_array);
            let each = fixed.into_iter().flatten().map(|item| example(schema, item, depth + 1));
            let mut items: Vec<Value> = each.collect();
            let needed = property.get("minItems").and_then(Value::as_u64).unwrap_or(0).min(100);
            while items.len() < usize::try_from(needed).unwrap_or(0) {
                items.push(property.get("items").map_or(Value::Null, |item| example(schema, item, depth + 1)));
            }
            items.into()
        }
        Some("object") => {
            let properties = property.get("properties").and_then(Value::as_object);
            let required = properties.into_iter().flatten().filter(|(name, _)| is_required(property, name));
            Value::Object(
                required.map(|(name, part)| (name.clone(), example(schema, part, depth + 1))).collect::<Map<_, _>>(),
            )
        }
        // Without a type, a text is the best guess.
        _ => {
            let least = property.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            let most = property.get("maxLength").and_then(Value::as_u64).unwrap_or(4);
            if most == 1 || least > 4 {
                "x".repeat(usize::try_from(least.clamp(1, 100)).unwrap_or(1)).into()
            } else {
                "TEXT".into()
            }
        }
    }
}

/// A word, quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-+./:=@,%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn method(name: &str, parameters: &Value) -> MethodInfo {
        MethodInfo::new(name).with_parameters(parameters.clone())
    }

    #[test]
    fn a_command_line_has_what_is_required_and_fits() {
        let file = json!({"type": "object", "properties": {"$blob": {"type": "integer"}}});
        let parameters = json!({"type": "object", "properties": {
            "image": {"anyOf": [file, {"type": "string", "contentEncoding": "base64"}]},
            "text": {"type": "string", "description": "What is\nmasked."},
            "n": {"type": "integer", "minimum": 3},
            "mode": {"enum": ["fast", "slow"]},
            "size": {"type": "object", "properties": {"w": {"type": "integer"}, "h": {"type": "integer"}}, "required": ["w"]},
            "pair": {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "string"}]},
            "any": {"$comment": "np.ndarray"},
            "left": {"type": "number", "default": 0.5},
            "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
            "required": ["image", "text", "n", "mode", "size", "pair", "any"]});
        let method = method("resize", &parameters);
        assert_eq!(
            command_line(&["bivium"], "my plugin", &method, &[]),
            "bivium run 'my plugin' --method resize image@=FILE text=TEXT n:=3 mode=fast 'size:={\"w\":1}' \
             'pair:=[true,\"TEXT\"]' any=TEXT"
        );
        let lines: Vec<String> = super::parameters(&method).unwrap().iter().map(Parameter::line).collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        image: file | base64 (required)
        text: string (required)  What is masked.
        n: integer (required)
        mode: "fast" | "slow" (required)
        size: {w: integer, h?: integer} (required)
        pair: array (required)
        any: np.ndarray (required)
        left: number = 0.5
        maybe: string | null (optional)
        "#);
    }

    #[test]
    fn each_set_of_arguments_has_a_line_of_its_own_and_what_does_not_load_has_none() {
        let parameters = json!({"type": "object", "properties": {
            "text": {"type": ["string", "null"]}, "segments": {"type": "array"}, "n": {"type": "integer"}},
            "required": ["n"], "oneOf": [{"required": ["text"]}, {"required": ["segments"]}]});
        let method = method("execute", &parameters);
        let mut how = MethodHelp { program: vec!["bivium"], plugin: "p", runtime: RuntimeKind::Wasm, loads: true };
        let lines = ["bivium run p text=TEXT n:=1", "bivium run p 'segments:=[]' n:=1"];
        assert_eq!(how.command_lines(&method), lines);
        let told = how.as_json(&[method.clone(), MethodInfo::new("other")]);
        assert_eq!((&told[0]["command"], &told[0]["commands"]), (&json!(lines[0]), &json!(lines)));
        assert_eq!((&told[1]["command"], &told[1]["commands"]), (&json!("bivium run p --method other"), &Value::Null));
        how.loads = false;
        assert_eq!((how.command_lines(&method).len(), &how.as_json(&[method])[0]["command"]), (0, &Value::Null));
    }

    #[test]
    fn a_method_with_a_form_for_each_call_has_a_line_for_each() {
        let how = MethodHelp { program: vec!["bivium"], plugin: "p", runtime: RuntimeKind::Python, loads: true };
        let method = MethodInfo::new("execute").with_streams(true).with_also_runs(true);
        assert_eq!(how.command_lines(&method), ["bivium run p", "bivium stream p"]);
    }

    #[test]
    fn unknown_values_are_left_out() {
        let execute = MethodInfo::new("execute").with_streams(true);
        assert_eq!(
            (command_line(&["bivium"], "p", &execute, &[]), parameters(&execute)),
            ("bivium stream p".to_owned(), None)
        );
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
