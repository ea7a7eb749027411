//! [`Methods`]: the exported functions of a typed component, under the names by which they are called.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::{fmt, mem};

use bivium_instances::document::{self, DocumentLimits, Pace};
use bivium_interface::{Blob, Call, Failure, MethodInfo, Payload, PluginError, Result};
use serde_json::{Map, Value};
use wasmtime::component::__internal::CanonicalAbiInfo;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};
use wasmtime::{Engine, ValRaw};

use super::display::separated;
use super::flat::flatten;
use super::image::Image;
use super::layout::Places;
use super::memory::Broken;
use super::read::{Place, Reader};
use super::schema;
use super::shape::{Part, Shape, frame};
use super::told::listed;
use super::types::{Types, Unfit};
use super::write::{Unwritten, Writer};
use crate::{refusal, text};

/// Functions of one component, at most.
const MAX_METHODS: usize = 1000;
/// The longest message that is taken from a guest, in bytes.
const MAX_MESSAGE: usize = 8 << 10;

/// One exported function.
pub(super) struct Method {
    /// The name under which it is listed.
    name: String,
    params: Vec<(String, Part)>,
    /// The layout of all parameters together.
    frame: CanonicalAbiInfo,
    result: Option<Part>,
    pub(super) export: ComponentExportIndex,
}

/// The functions of one component, in its own order.
pub(crate) struct Methods {
    methods: Vec<Arc<Method>>,
    /// Every name by which one can be called.
    names: HashMap<String, usize>,
    /// What a call of no particular method runs.
    default: Option<usize>,
    /// Functions that cannot be called, by each of their names.
    unfit: HashMap<String, Unfit>,
    /// The names under which those are listed.
    listed: Vec<String>,
}

impl Methods {
    /// Takes in what the component exports. A function that has types without a JSON form is listed and cannot be called.
    ///
    /// # Errors
    /// `invalid-manifest` if no function can be called, or if there are too many. The error names a function.
    pub(crate) fn of(component: &Component, engine: &Engine) -> Result<Self> {
        let mut found = Found { component, types: Types::new(), methods: Vec::new(), unfit: Vec::new() };
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
        match found.unfit.first() {
            Some((names, unfit)) if found.methods.is_empty() => Err(refusal::unfit(&names.full, unfit)),
            _ => Ok(Self::named(found.methods, found.unfit)),
        }
    }

    fn named(methods: Vec<(Names, Method)>, unfit: Vec<(Names, Unfit)>) -> Self {
        let mut shared: HashMap<String, usize> = HashMap::new();
        let every = methods.iter().map(|(names, _)| names).chain(unfit.iter().map(|(names, _)| names));
        for names in every {
            *shared.entry(names.short.clone()).or_default() += 1;
        }
        let mut all = Self {
            methods: Vec::new(),
            names: HashMap::new(),
            default: None,
            unfit: HashMap::new(),
            listed: Vec::new(),
        };
        for (names, unfit) in unfit {
            let is_unique = shared.get(&names.short) == Some(&1);
            all.listed.push(if is_unique { names.short.clone() } else { names.full.clone() });
            all.unfit.extend(is_unique.then_some((names.short, unfit)));
            all.unfit.insert(names.full, unfit);
        }
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
            all.methods.push(Arc::new(method));
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
    pub(super) fn find(&self, name: &str) -> Result<&Arc<Method>> {
        let n = if name == Call::EXECUTE { self.default } else { self.names.get(name).copied() };
        if let (None, Some(unfit)) = (n, self.unfit.get(name)) {
            return Err(refusal::not_callable(name, unfit));
        }
        n.and_then(|n| self.methods.get(n)).ok_or_else(|| {
            let names = || self.methods.iter().map(|method| method.name.as_str());
            let known = listed(names());
            let help = match refusal::meant(name, names()) {
                Some(meant) => format!("{meant} Its methods are {known}"),
                None => format!("its methods are {known}"),
            };
            PluginError::not_found(format!("there is no method `{}`", text::name(name))).with_help(help)
        })
    }

    /// What is told of them.
    pub(crate) fn list(&self) -> Vec<MethodInfo> {
        let info = |name: &str, method: &Method| {
            MethodInfo::new(name)
                .with_signature(method.signature())
                .with_parameters(schema::of_arguments(&method.params))
                .with_returns(schema::of_result(method.result.as_ref()))
        };
        let unfit = |name: &String| {
            MethodInfo::new(name).with_not_callable(self.unfit.get(name).map(|unfit| format!("it has {unfit}")))
        };
        let default = self.default.and_then(|n| self.methods.get(n)).filter(|method| method.name != Call::EXECUTE);
        let execute = |method| {
            info(Call::EXECUTE, method).with_description(format!("The same as `{}`.", text::name(&method.name)))
        };
        let execute = default.map(|method| execute(method));
        let methods = self.methods.iter().map(|method| info(&method.name, method));
        execute.into_iter().chain(methods).chain(self.listed.iter().map(unfit)).collect()
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
    types: Types,
    methods: Vec<(Names, Method)>,
    unfit: Vec<(Names, Unfit)>,
}

impl Found<'_> {
    fn add(&mut self, interface: Option<&str>, function: &str, func: &ComponentFunc) -> Result<()> {
        if is_plumbing(interface, function, func) {
            return Ok(());
        }
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
        if self.methods.len() + self.unfit.len() == MAX_METHODS {
            return Err(refusal::unfit(&names.full, "too many others beside it"));
        }
        match self.method(interface, function, func) {
            Ok(method) => self.methods.push((names, method)),
            Err(unfit) => self.unfit.push((names, unfit)),
        }
        Ok(())
    }

    fn method(&mut self, interface: Option<&str>, function: &str, func: &ComponentFunc) -> Result<Method, Unfit> {
        let params = func.params().map(|(name, ty)| Ok((self.types.name(name)?, self.types.part(&ty)?)));
        let params = params.collect::<Result<Vec<_>, Unfit>>()?;
        let mut results = func.results();
        let result = results.next().map(|ty| self.types.part(&ty)).transpose()?;
        if results.next().is_some() {
            return Err("several results");
        }
        let index = |within: Option<&ComponentExportIndex>, name: &str| {
            self.component.get_export_index(within, name).ok_or("a name under which it is not found")
        };
        let interface = interface.map(|interface| index(None, interface)).transpose()?;
        let export = index(interface.as_ref(), function)?;
        let frame = frame(params.iter().map(|(_, part)| part));
        Ok(Method { name: String::new(), params, frame, result, export })
    }
}

/// Whether a function is what a toolchain exports for itself: those of componentize-qjs and componentize-py make the snapshot with
/// which the component begins, and nobody calls them again.
fn is_plumbing(interface: Option<&str>, function: &str, func: &ComponentFunc) -> bool {
    let params: Vec<&str> = func.params().map(|(name, _)| name).collect();
    matches!(
        (interface, function, params.as_slice()),
        (None, "init", ["shim", "script", ..]) | (Some("exports"), "init", ["app-name", "symbols", ..])
    )
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

/// What a function gave.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) json: Value,
    /// Bytes for the blobs that the JSON names.
    pub(super) blobs: Vec<Vec<u8>>,
    /// The text of the JSON has at least as many bytes.
    pub(super) counted: usize,
}

impl Outcome {
    const RESULT: &str = "the plugin's result is";

    /// Refuses JSON whose text is longer than may be.
    pub(super) fn check(self, limits: DocumentLimits, pace: &Pace) -> Result<Self> {
        let measured = document::measure(&self.json, limits.text, pace);
        measured.map_err(|why| limits.unwritten(Self::RESULT, why))?;
        Ok(self)
    }
}

impl Method {
    /// A call's arguments, laid out. Blocks while it reads blobs.
    pub(super) fn arguments(&self, arguments: Arguments, limits: DocumentLimits, pace: &Pace) -> Result<Image> {
        let Arguments { positional, mut named, blobs } = arguments;
        document::measure(&named, limits.text, pace)
            .and_then(|()| document::measure(&positional, limits.text, pace))
            .map_err(|why| limits.unwritten("the arguments are", why))?;
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
        let blobs = Payload { json: Value::Null, blobs };
        let mut reader = Reader::new(&self.params, blobs, limits.held, pace.clone())?;
        let mut positional = positional.into_iter().enumerate();
        let mut places = Places::from(0);
        for (name, part) in &self.params {
            let to = Place::argument(places.next(part));
            match (positional.next(), named.swap_remove(name)) {
                (Some(_), Some(_)) => {
                    return Err(wrong(format!("the argument `{name}` is given by its position and by its name")));
                }
                (Some((n, value)), None) => reader.argument(Cow::Owned(n.to_string()), part, value, to)?,
                (None, Some(value)) => reader.argument(Cow::Borrowed(name), part, value, to)?,
                // None, as everything is made of zeros.
                (None, None) if matches!(**part, Shape::Option(_)) => {}
                (None, None) => return Err(wrong(format!("the argument `{name}` is missing"))),
            }
        }
        Ok(reader.finish())
    }

    /// The layout of all parameters together.
    pub(super) fn frame(&self) -> &CanonicalAbiInfo {
        &self.frame
    }

    /// The numbers that stand for the arguments that lie in `bytes`.
    pub(super) fn flatten(&self, bytes: &[u8]) -> Option<Vec<ValRaw>> {
        let (mut numbers, mut places) = (Vec::new(), Places::from(0));
        for (_, part) in &self.params {
            flatten(part, bytes, places.next(part), &mut numbers)?;
        }
        Some(numbers)
    }

    pub(super) fn result(&self) -> Option<&Part> {
        self.result.as_ref()
    }

    /// The JSON of the result that lies at `at`, and bytes for the blobs that it names. The error of a `result` is the
    /// plugin's own.
    pub(super) fn outcome(&self, mut writer: Writer<'_>, at: usize) -> Result<Result<Outcome>, Broken> {
        let limits = writer.limits();
        let written = match &self.result {
            None => Ok(Value::Null),
            Some(part) => match &**part {
                Shape::Result(ok, err) => match (writer.case(at, 2)?, ok, at + part.carried_at()) {
                    (0, Some(ok), at) => writer.write(ok, at),
                    (0, None, _) => Ok(Value::Null),
                    (_, _, at) => return failure(err.as_deref(), writer, at).map(Err),
                },
                _ => writer.write(part, at),
            },
        };
        let (counted, blobs) = (writer.counted(), mem::take(&mut writer.blobs));
        Ok(match written {
            Ok(json) => Ok(Outcome { json, blobs, counted }),
            Err(Unwritten::Broken(broken)) => return Err(broken),
            Err(Unwritten::Over(error)) => Err(error),
            Err(Unwritten::TooLong) => Err(limits.unwritten(Outcome::RESULT, document::Unwritten::TooLong)),
            Err(Unwritten::TooLarge) => Err(limits.too_large(Outcome::RESULT)),
        })
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
fn failure(part: Option<&Part>, writer: Writer<'_>, at: usize) -> Result<PluginError, Broken> {
    let (kind, message) = match part.map(|part| (part, &**part)) {
        Some((_, Shape::Enum(names))) => {
            let case = writer.case(at, names.len())?;
            (names.get_index(case).cloned().unwrap_or_default(), String::new())
        }
        Some((part, Shape::Variant(cases))) => {
            let case = writer.case(at, cases.len())?;
            match cases.get_index(case) {
                Some((name, Some(carried))) => (name.clone(), told(carried, writer, at + part.carried_at())?),
                Some((name, None)) => (name.clone(), String::new()),
                None => (String::new(), String::new()),
            }
        }
        Some((part, _)) => (String::new(), told(part, writer, at)?),
        None => (String::new(), "the function gave an error and did not say which".to_owned()),
    };
    let (kind, message) = (text::clip(kind, MAX_MESSAGE), text::clip(message, MAX_MESSAGE));
    Ok(PluginError::plugin_failed(Failure::new(kind, message)))
}

/// An error's value in words: a string as it is, anything else as JSON.
fn told(part: &Part, writer: Writer<'_>, at: usize) -> Result<String, Broken> {
    if **part == Shape::String {
        // A character more, so that it is seen that some were cut off.
        return writer.memory().text(at).map(|text| text.beginning(MAX_MESSAGE + 4));
    }
    match writer.in_words(MAX_MESSAGE).write(part, at) {
        Ok(json) => Ok(json.to_string()),
        Err(Unwritten::Broken(broken)) => Err(broken),
        Err(_) => Ok("the error's value is too long to be shown".to_owned()),
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
