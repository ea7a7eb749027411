//! [`Constructor`]: the arguments of a class's constructor, as far as its source shows.

use std::collections::BTreeMap;
use std::rc::Rc;

use bivium_interface::nearest;
use serde_json::{Map, Value};

use super::source::{Class, Field, Function, Module, Parameter, Star};

/// The arguments of a constructor.
#[derive(Default)]
pub(super) struct Constructor {
    needed: Vec<String>,
    /// All arguments that it takes; None if they are not known, or if it takes any.
    taken: Option<Vec<String>>,
}

impl Constructor {
    /// The constructor of a class with these functions, inherited ones included; `is_whole` says whether these are all. Nothing is known if
    /// the class or its constructor is decorated: a decorator may give arguments.
    pub(super) fn of(class: &Class, functions: &BTreeMap<String, (Rc<Module>, Function)>, is_whole: bool) -> Self {
        let is_dataclass = class.decorators.iter().any(|name| name.rsplit('.').next() == Some("dataclass"));
        let has_own_making = class.has_metaclass || functions.contains_key("__new__");
        // A base class without source may define the constructor before the class from which it seems to be inherited.
        let is_seen = is_whole || class.methods.iter().any(|function| function.name == "__init__");
        match functions.get("__init__").map(|(_, function)| function) {
            _ if has_own_making || !is_seen => Self::default(),
            Some(init) if class.decorators.is_empty() && !init.is_decorated => Self::of_function(init),
            None if is_dataclass && class.bases.is_empty() => Self::of_fields(&class.fields),
            // The constructor of `object`.
            None if class.decorators.is_empty() && class.bases.is_empty() => {
                Self { needed: Vec::new(), taken: Some(Vec::new()) }
            }
            _ => Self::default(),
        }
    }

    fn of_function(init: &Function) -> Self {
        let named = || init.parameters.iter().filter(|one| one.star == Star::None);
        let is_needed = |one: &&Parameter| one.default.is_none();
        let takes_any = init.parameters.iter().any(|one| one.star == Star::Two);
        let names = || named().map(|one| one.name.clone()).collect();
        Self {
            needed: named().filter(is_needed).map(|one| one.name.clone()).collect(),
            taken: (!takes_any).then(names),
        }
    }

    fn of_fields(fields: &[Field]) -> Self {
        let own = || fields.iter().filter(|field| field.is_own());
        let needed = own().filter(|field| field.value.is_none()).map(|field| field.name.clone()).collect();
        // A field whose name begins with `_`, which `is_own` skips, may still be given.
        let is_given = |field: &&Field| field.kind.is_some() && !field.marked("ClassVar");
        Self { needed, taken: Some(fields.iter().filter(is_given).map(|field| field.name.clone()).collect()) }
    }

    /// The arguments that it needs and are not given, and those that are given and it does not take, each with the name that was
    /// probably meant.
    pub(super) fn misfits(&self, given: &Map<String, Value>) -> (Vec<String>, Vec<(String, Option<String>)>) {
        let lacks = self.needed.iter().filter(|name| !given.contains_key(*name)).cloned().collect();
        let Some(taken) = &self.taken else { return (lacks, Vec::new()) };
        let meant = |name: &str| {
            let free = taken.iter().filter(|one| !given.contains_key(*one)).map(String::as_str);
            nearest(name, free).map(str::to_owned)
        };
        let strange = given.keys().filter(|name| !taken.contains(*name));
        (lacks, strange.map(|name| (name.clone(), meant(name))).collect())
    }
}
