//! [`Methods`]: the exported functions of a typed component, under the names by which they are called.

use std::collections::HashMap;
use std::sync::Arc;

use bivium_interface::{Call, MethodInfo, PluginError, Result};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component, ComponentExportIndex};

use super::method::Method;
use super::shown::listed;
use super::types::{Types, Unfit};
use crate::{refusal, text};

/// The most functions of one component.
const MAX_METHODS: usize = 1000;

/// The functions of one component, in its own order.
pub(crate) struct Methods {
    methods: Vec<Arc<Method>>,
    /// Every name by which a function can be called.
    names: HashMap<String, usize>,
    /// The function for a call without a method.
    default: Option<usize>,
    /// Functions that cannot be called, by each of their names.
    unfit: HashMap<String, Unfit>,
    /// The names under which they are listed.
    listed: Vec<String>,
}

impl Methods {
    /// Finds the component's functions. A function with types that have no JSON form is listed but cannot be called.
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
            let help = match refusal::did_you_mean(name, names()) {
                Some(meant) => format!("{meant} Its methods are {known}"),
                None => format!("its methods are {known}"),
            };
            PluginError::not_found(format!("there is no method `{}`", text::name(name))).with_help(help)
        })
    }

    /// The descriptions of all functions.
    pub(crate) fn list(&self) -> Vec<MethodInfo> {
        let unfit = |name: &String| {
            MethodInfo::new(name).with_not_callable(self.unfit.get(name).map(|unfit| format!("it has {unfit}")))
        };
        let default = self.default.and_then(|n| self.methods.get(n)).filter(|method| method.name != Call::EXECUTE);
        let execute = default.map(|method| {
            method.info(Call::EXECUTE).with_description(format!("The same as `{}`.", text::name(&method.name)))
        });
        let methods = self.methods.iter().map(|method| method.info(&method.name));
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
        if is_of_toolchain(interface, function, func) {
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
            return Err(refusal::unfit(&names.full, "too many other functions beside it"));
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
            self.component.get_export_index(within, name).ok_or("a name by which it cannot be found")
        };
        let interface = interface.map(|interface| index(None, interface)).transpose()?;
        let export = index(interface.as_ref(), function)?;
        Ok(Method::new(params, result, export))
    }
}

/// Whether a toolchain exports this function for itself: those of componentize-qjs and componentize-py make the snapshot with which the
/// component begins, and are never called again.
fn is_of_toolchain(interface: Option<&str>, function: &str, func: &ComponentFunc) -> bool {
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
