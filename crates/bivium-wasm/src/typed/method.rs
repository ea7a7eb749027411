//! [`Methods`]: the exported functions of a typed component, under the names by which they are called.

use std::collections::HashMap;
use std::{fmt, mem};

use bivium_interface::{Blob, Call, Failure, MethodInfo, Payload, PluginError, Result};
use serde_json::{Map, Value};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex, Val};

use super::read::{self, Reader};
use super::schema;
use super::shape::{Shape, Surveyor, Unfit, separated};
use super::write::{Unwritten, Writer};
use crate::{document, refusal, text};

/// Functions of one component, at most.
const MAX_METHODS: usize = 1000;
/// The longest message that is taken from a guest, in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// One exported function.
pub(super) struct Method {
    /// The name under which it is listed.
    name: String,
    params: Vec<(String, Shape)>,
    result: Option<Shape>,
    pub(super) export: ComponentExportIndex,
}

/// The functions of one component, in its own order.
pub(crate) struct Methods {
    methods: Vec<Method>,
    /// Every name by which one can be called.
    names: HashMap<String, usize>,
    /// What a call of no particular method runs.
    default: Option<usize>,
}

impl Methods {
    /// Takes in what the component exports.
    ///
    /// # Errors
    /// `invalid-manifest` if a function has types without a JSON form, or if there are too many. The error names the
    /// function.
    pub(crate) fn of(component: &Component, engine: &Engine) -> Result<Self> {
        let mut found = Found { component, surveyor: Surveyor::new(), methods: Vec::new() };
        let ty = component.component_type();
        for (name, item) in ty.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(func) => found.add(None, name, &func)?,
                ComponentItem::ComponentInstance(instance) => {
                    for (inner, item) in instance.exports(engine) {
                        if let ComponentItem::ComponentFunc(func) = item.ty {
                            found.add(Some(name), inner, &func)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(Self::named(found.methods))
    }

    fn named(methods: Vec<(Names, Method)>) -> Self {
        let mut shared: HashMap<String, usize> = HashMap::new();
        for (names, _) in &methods {
            *shared.entry(names.short.clone()).or_default() += 1;
        }
        let mut all = Self { methods: Vec::new(), names: HashMap::new(), default: None };
        let mut inner = Vec::new();
        for (n, (names, mut method)) in methods.into_iter().enumerate() {
            if names.function == Call::EXECUTE {
                inner.push(n);
            }
            let is_unique = shared.get(&names.short) == Some(&1);
            names.full.clone_into(&mut method.name);
            if is_unique {
                names.short.clone_into(&mut method.name);
                all.names.insert(names.short, n);
            }
            all.names.insert(names.full, n);
            all.methods.push(method);
        }
        all.default = match (all.names.get(Call::EXECUTE), inner.as_slice(), all.methods.len()) {
            (Some(n), _, _) | (None, [n], _) => Some(*n),
            (None, _, 1) => Some(0),
            _ => None,
        };
        all
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.methods.is_empty()
    }

    /// The method that a call names.
    pub(super) fn find(&self, name: &str) -> Result<&Method> {
        let n = if name == Call::EXECUTE { self.default } else { self.names.get(name).copied() };
        n.and_then(|n| self.methods.get(n)).ok_or_else(|| {
            let known = read::listed(self.methods.iter().map(|method| method.name.as_str()));
            PluginError::not_found(format!("there is no method `{}`", text::name(name)))
                .with_help(format!("its methods are {known}"))
        })
    }

    /// What is told of them.
    pub(super) fn list(&self) -> Vec<MethodInfo> {
        let info = |method: &Method| MethodInfo {
            name: method.name.clone(),
            description: method.signature(),
            parameters: Some(schema::of_arguments(&method.params)),
            returns: Some(schema::of_result(method.result.as_ref())),
        };
        self.methods.iter().map(info).collect()
    }
}

struct Names {
    /// `interface.function`, or `function` at the level of the world.
    short: String,
    /// `ns:package/interface@1.0.0#function`, or `function`.
    full: String,
    function: String,
}

struct Found<'a> {
    component: &'a Component,
    surveyor: Surveyor,
    methods: Vec<(Names, Method)>,
}

impl Found<'_> {
    fn add(&mut self, interface: Option<&str>, function: &str, func: &ComponentFunc) -> Result<()> {
        let names = Names {
            short: match interface {
                Some(interface) => format!("{}.{function}", base(interface)),
                None => function.to_owned(),
            },
            full: match interface {
                Some(interface) => format!("{interface}#{function}"),
                None => function.to_owned(),
            },
            function: function.to_owned(),
        };
        let method = self.method(interface, function, func).map_err(|unfit| refusal::unfit(&names.full, unfit))?;
        if self.methods.len() == MAX_METHODS {
            return Err(refusal::unfit(&names.full, "too many others beside it"));
        }
        self.methods.push((names, method));
        Ok(())
    }

    fn method(&mut self, interface: Option<&str>, function: &str, func: &ComponentFunc) -> Result<Method, Unfit> {
        let params = func.params().map(|(name, ty)| Ok((self.surveyor.name(name)?, self.surveyor.shape(&ty)?)));
        let params = params.collect::<Result<Vec<_>, Unfit>>()?;
        let mut results = func.results();
        let result = results.next().map(|ty| self.surveyor.shape(&ty)).transpose()?;
        if results.next().is_some() {
            return Err("several results");
        }
        let index = |within: Option<&ComponentExportIndex>, name: &str| {
            self.component.get_export_index(within, name).ok_or("a name under which it is not found")
        };
        let interface = interface.map(|interface| index(None, interface)).transpose()?;
        let export = index(interface.as_ref(), function)?;
        Ok(Method { name: String::new(), params, result, export })
    }
}

/// `interface` of `ns:package/interface@1.0.0`.
fn base(interface: &str) -> &str {
    let name = interface.rsplit_once('/').map_or(interface, |(_, name)| name);
    name.split_once('@').map_or(name, |(name, _)| name)
}

/// What a call passes to a function.
pub(super) struct Arguments {
    positional: Vec<Value>,
    named: Map<String, Value>,
    blobs: Vec<Blob>,
}

impl Arguments {
    /// Takes them out of a call.
    pub(super) fn take(call: &mut Call) -> Self {
        let Call { positional, named, blobs, .. } = call;
        Self { positional: mem::take(positional), named: mem::take(named), blobs: mem::take(blobs) }
    }
}

impl Method {
    /// The values of a call's arguments, in order. Blocks while it reads blobs.
    pub(super) fn arguments(&self, arguments: Arguments, json_limit: usize, limit: usize) -> Result<Vec<Val>> {
        let Arguments { positional, mut named, blobs } = arguments;
        document::check("the arguments are", &named, json_limit)?;
        document::check("the arguments are", &positional, json_limit)?;
        let wrong = |what: String| {
            PluginError::invalid_input(what).with_help(format!("`{}` is {}", text::name(&self.name), self.signature()))
        };
        if let Some(unknown) = named.keys().find(|given| self.params.iter().all(|(name, _)| name != *given)) {
            return Err(wrong(format!("the method has no argument `{}`", text::name(unknown))));
        }
        if positional.len() > self.params.len() {
            return Err(wrong(format!(
                "the call has {} positional arguments, and the method takes {}",
                positional.len(),
                self.params.len()
            )));
        }
        let mut reader = Reader::new(Payload { json: Value::Null, blobs }, limit);
        let mut positional = positional.into_iter().enumerate();
        let mut values = Vec::with_capacity(self.params.len());
        for (name, shape) in &self.params {
            values.push(match (positional.next(), named.swap_remove(name)) {
                (Some(_), Some(_)) => {
                    return Err(wrong(format!("the argument `{name}` is given by its position and by its name")));
                }
                (Some((n, value)), None) => reader.argument(n.to_string(), shape, value)?,
                (None, Some(value)) => reader.argument(name.clone(), shape, value)?,
                (None, None) if matches!(shape, Shape::Option(_)) => Val::Option(None),
                (None, None) => return Err(wrong(format!("the argument `{name}` is missing"))),
            });
        }
        Ok(values)
    }

    /// Places for the results.
    pub(super) fn results(&self) -> Vec<Val> {
        self.result.iter().map(|_| Val::Bool(false)).collect()
    }

    /// The JSON of what the function gave, and bytes for the blobs that it names. The error of a `result` is the
    /// plugin's own.
    pub(super) fn outcome(&self, results: Vec<Val>, json_limit: usize) -> Result<(Value, Vec<Vec<u8>>)> {
        let mut writer = Writer::new(json_limit);
        let json = match (&self.result, results.into_iter().next()) {
            (Some(Shape::Result(_, err)), Some(Val::Result(Err(val)))) => return Err(failure(err.as_deref(), val)),
            (Some(Shape::Result(ok, _)), Some(Val::Result(Ok(val)))) => writer.carried(ok.as_deref(), val),
            (Some(shape), Some(val)) => writer.write(shape, val),
            (None, None) => Ok(Value::Null),
            _ => Err(Unwritten::Mismatch),
        };
        const RESULT: &str = "the plugin's result is";
        let json = json.map_err(|unwritten| match unwritten {
            Unwritten::TooLong => document::over(RESULT, "more", json_limit),
            Unwritten::Mismatch => PluginError::protocol("the plugin's result is of another type than its function's"),
        })?;
        document::check(RESULT, &json, json_limit)?;
        Ok((json, writer.blobs))
    }

    /// As WIT writes it.
    fn signature(&self) -> String {
        text::clip(self.to_string(), 500)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("func(")?;
        separated(f, &self.params, |f, (name, shape)| write!(f, "{name}: {shape}"))?;
        f.write_str(")")?;
        self.result.as_ref().map_or(Ok(()), |result| write!(f, " -> {result}"))
    }
}

/// The error that a function gave as its result: the case of a variant or an enum is its type.
fn failure(shape: Option<&Shape>, val: Option<Box<Val>>) -> PluginError {
    let (kind, message) = match (shape, val.map(|val| *val)) {
        (Some(Shape::Enum(_)), Some(Val::Enum(name))) => (name, String::new()),
        (Some(Shape::Variant(cases)), Some(Val::Variant(name, carried))) => {
            let shape = cases.get(&name).and_then(Option::as_ref);
            let message = carried.map(|val| told(shape, *val)).unwrap_or_default();
            (name, message)
        }
        (shape, Some(val)) => (String::new(), told(shape, val)),
        (_, None) => (String::new(), "the function gave an error and did not say which".to_owned()),
    };
    PluginError::plugin_failed(Failure {
        kind: text::clip(kind, MAX_MESSAGE),
        message: text::clip(message, MAX_MESSAGE),
        traceback: String::new(),
        ..Failure::default()
    })
}

/// An error's value in words: a string as it is, anything else as JSON.
fn told(shape: Option<&Shape>, val: Val) -> String {
    match (shape, val) {
        (Some(Shape::String), Val::String(message)) => message,
        (Some(shape), val) => match Writer::without_blobs(MAX_MESSAGE).write(shape, val) {
            Ok(json) => json.to_string(),
            Err(_) => "the error's value is too long to be shown".to_owned(),
        },
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_of_an_interfaces_name() {
        for (name, expected) in [("a:b/images@1.0.0-rc.1", "images"), ("a:b/images", "images"), ("images", "images")] {
            assert_eq!(base(name), expected);
        }
    }
}
