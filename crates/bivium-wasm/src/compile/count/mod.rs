//! Counts what an instance of a component would consist of, before the component is compiled: a file of a few hundred bytes can ask for
//! millions of core instances, and no limit of an instance counts their memory.

mod footprint;
mod module;

use bivium_interface::{PluginError, Result};
use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind, ComponentTypeRef, Instance,
    Parser, Payload,
};

use crate::ceilings;
use footprint::{Footprint, Stop, defined};
use module::ModuleCount;

/// The most core instances in one instance, whatever a policy allows.
const CORE_INSTANCES: u64 = 10_000;
/// The most component instances within one instance.
const COMPONENT_INSTANCES: u64 = 10_000;
/// The most definitions of all components of one instance, each counted as often as it is instantiated: the compiler processes all of
/// them.
const DEFINITIONS: u64 = 1_000_000;
/// The most memory of the host for the globals, functions, resources, tables, tags and segments of one instance, without the elements
/// of tables.
const BOOKKEEPING: u64 = 4 << 20;
/// The bytes that wasmtime keeps for a component instance.
const COMPONENT_INSTANCE: u64 = 256;

/// The items of a component by index; `None` for one that comes from outside the component.
type Space = Vec<Option<Footprint>>;

enum Frame {
    Module(ModuleCount),
    Component { modules: Space, components: Space, made: Footprint },
}

/// Refuses a component whose instances would be too large. A malformed component is left to the compiler.
pub(super) fn check(component: &[u8]) -> Result<()> {
    let Ok(made) = Counter::default().take(component)? else { return Ok(()) };
    if made.core_instances > CORE_INSTANCES {
        return Err(ceilings::over("core instances", made.core_instances, CORE_INSTANCES, "core_instances"));
    }
    let counts = [
        ("component instances", made.component_instances, COMPONENT_INSTANCES),
        ("definitions in its components", made.definitions, DEFINITIONS),
    ];
    for (what, has, limit) in counts {
        if has > limit {
            let message = format!("the component has {has} {what}, over the limit of {limit}");
            return Err(PluginError::resource_exhausted(message).with_help("build it from fewer components"));
        }
    }
    if made.bytes > BOOKKEEPING {
        return Err(PluginError::resource_exhausted(format!(
            "the globals, functions, resources, memories, tables, tags and segments of an instance of the component take {} KiB \
             of the host's memory, over the limit of {} KiB",
            made.bytes.div_ceil(1 << 10),
            BOOKKEEPING >> 10
        ))
        .with_help("build the component with fewer globals, exported functions and passive segments"));
    }
    Ok(())
}

#[derive(Default)]
struct Counter {
    frames: Vec<Frame>,
    /// The largest module and component in the file: used for those that come from outside a component.
    largest_module: Footprint,
    largest_component: Footprint,
}

impl Counter {
    /// The outer error is a refusal; the inner one means that the component is malformed.
    fn take(mut self, component: &[u8]) -> Result<Result<Footprint, ()>> {
        for payload in Parser::new(0).parse_all(component) {
            let Ok(payload) = payload else { return Ok(Err(())) };
            match self.note(payload) {
                Ok(None) => {}
                Ok(Some(made)) => return Ok(Ok(made)),
                Err(Stop::Malformed) => return Ok(Err(())),
                Err(Stop::Refused(error)) => return Err(error),
            }
        }
        Ok(Err(()))
    }

    fn note(&mut self, payload: Payload<'_>) -> Result<Option<Footprint>, Stop> {
        match payload {
            Payload::Version { encoding, .. } => self.frames.push(match encoding {
                wasmparser::Encoding::Module => Frame::Module(ModuleCount::default()),
                wasmparser::Encoding::Component => {
                    Frame::Component { modules: Vec::new(), components: Vec::new(), made: Footprint::default() }
                }
            }),
            Payload::End(_) => return self.end(),
            payload => match self.frames.last_mut() {
                Some(Frame::Module(module)) => module.note(payload)?,
                Some(Frame::Component { .. }) => self.note_of_component(payload)?,
                None => return Err(Stop::Malformed),
            },
        }
        Ok(None)
    }

    fn note_of_component(&mut self, payload: Payload<'_>) -> Result<(), Stop> {
        self.make(defined(&payload)?);
        match payload {
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    match alias? {
                        ComponentAlias::InstanceExport { kind, .. } => self.push(kind, None),
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::CoreModule, count, index } => {
                            let made = self.outer(ComponentExternalKind::Module, count, index);
                            self.push(ComponentExternalKind::Module, made);
                        }
                        ComponentAlias::Outer { kind: ComponentOuterAliasKind::Component, count, index } => {
                            let made = self.outer(ComponentExternalKind::Component, count, index);
                            self.push(ComponentExternalKind::Component, made);
                        }
                        _ => {}
                    }
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    match import?.ty {
                        ComponentTypeRef::Module(_) => self.push(ComponentExternalKind::Module, None),
                        ComponentTypeRef::Component(_) => self.push(ComponentExternalKind::Component, None),
                        _ => {}
                    }
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export?;
                    let made = self.outer(export.kind, 0, export.index);
                    self.push(export.kind, made);
                }
            }
            Payload::InstanceSection(section) => {
                for instance in section {
                    if let Instance::Instantiate { module_index, .. } = instance? {
                        let made = self.outer(ComponentExternalKind::Module, 0, module_index);
                        self.make(made.unwrap_or(self.largest_module));
                    }
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                        let made = self.outer(ComponentExternalKind::Component, 0, component_index);
                        self.make(made.unwrap_or(self.largest_component));
                        self.make(Footprint {
                            component_instances: 1,
                            bytes: COMPONENT_INSTANCE,
                            ..Footprint::default()
                        });
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A module or component of the component that is `count` levels further out.
    fn outer(&self, kind: ComponentExternalKind, count: u32, index: u32) -> Option<Footprint> {
        let Frame::Component { modules, components, .. } = self.frames.iter().rev().nth(count as usize)? else {
            return None;
        };
        let space = match kind {
            ComponentExternalKind::Module => modules,
            ComponentExternalKind::Component => components,
            _ => return None,
        };
        *space.get(index as usize)?
    }

    fn push(&mut self, kind: ComponentExternalKind, made: Option<Footprint>) {
        if let Some(Frame::Component { modules, components, .. }) = self.frames.last_mut() {
            match kind {
                ComponentExternalKind::Module => modules.push(made),
                ComponentExternalKind::Component => components.push(made),
                _ => {}
            }
        }
    }

    fn make(&mut self, more: Footprint) {
        if let Some(Frame::Component { made, .. }) = self.frames.last_mut() {
            made.add(more);
        }
    }

    /// Ends a module or component. Returns the footprint of the outermost one.
    fn end(&mut self) -> Result<Option<Footprint>, Stop> {
        match self.frames.pop().ok_or(Stop::Malformed)? {
            Frame::Module(module) => {
                let made = module.footprint();
                self.largest_module = self.largest_module.max(made);
                self.push(ComponentExternalKind::Module, Some(made));
            }
            Frame::Component { made, .. } => {
                self.largest_component = self.largest_component.max(made);
                if self.frames.is_empty() {
                    return Ok(Some(made));
                }
                self.push(ComponentExternalKind::Component, Some(made));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::module::{
        CORE_INSTANCE, DATA_SEGMENT, FUNCTION, GLOBAL, MEMORY_OR_TABLE, PASSIVE_ELEMENT, PASSIVE_SEGMENT, ROOT, TAG,
    };
    use super::*;
    use bivium_interface::ErrorCode;

    fn count(text: &str) -> Footprint {
        Counter::default().take(&wat::parse_str(text).unwrap()).unwrap().unwrap()
    }

    #[test]
    fn instances_of_instances_are_counted() {
        let made = count(
            r#"(component $outer
                (core module $m (func (export "f")) (global i32 (i32.const 0)))
                (component $inner
                    (alias outer $outer 0 (core module $again))
                    (core instance (instantiate $again))
                    (core instance (instantiate $again)))
                (component $more
                    (alias outer $outer 0 (component $c))
                    (instance (instantiate $c)) (instance (instantiate $c)) (instance (instantiate $c)))
                (core instance (instantiate $m))
                (instance (instantiate $more)) (instance (instantiate $more)))"#,
        );
        assert_eq!((made.core_instances, made.component_instances), (13, 8));
        assert_eq!(made.bytes, 13 * (CORE_INSTANCE + GLOBAL + FUNCTION) + 8 * COMPONENT_INSTANCE);
    }

    #[test]
    fn segments_tags_and_references_of_an_instance_are_counted() {
        let bytes = |module: &str| {
            count(&format!("(component (core module $m {module}) (core instance (instantiate $m)))")).bytes
        };
        let plain = bytes("(func $f)");
        for (parts, more) in [
            ("(tag) (tag (param i32))", 2 * TAG),
            ("(memory 1) (data \"a\") (data (i32.const 0) \"b\")", MEMORY_OR_TABLE + 2 * DATA_SEGMENT),
            ("(global anyref (ref.null any))", GLOBAL + ROOT + FUNCTION),
            ("(global funcref (ref.null func))", GLOBAL + FUNCTION),
            ("(elem declare func $f)", FUNCTION),
            ("(elem func $f $f $f)", FUNCTION + PASSIVE_SEGMENT + 3 * PASSIVE_ELEMENT),
            ("(elem anyref (ref.null any) (ref.null any))", FUNCTION + PASSIVE_SEGMENT + 2 * (PASSIVE_ELEMENT + ROOT)),
        ] {
            assert_eq!(bytes(&format!("(func $f) {parts}")) - plain, more, "{parts}");
        }
    }

    /// Ten in ten in ten and so on: a compiler that makes a list of them runs out of memory.
    #[test]
    fn a_component_that_multiplies_instances_is_refused_before_it_is_compiled() {
        let mut text = String::from("(component $c0 (core module $m) (core instance (instantiate $m)))");
        for level in 1..30 {
            let inner = (0..10).map(|_| format!("(instance (instantiate $c{}))", level - 1)).collect::<String>();
            text = format!("(component $c{level} {text} {inner})");
        }
        let refused = |text: &str| {
            let error = check(&wat::parse_str(text).unwrap()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ResourceExhausted);
            error.to_string()
        };
        let message = refused(&text);
        assert!(message.contains("`limits.core_instances`"), "{message}");
        // The same without any module.
        let empty = text.replace("(core module $m) (core instance (instantiate $m))", "");
        let message = refused(&empty);
        assert!(message.contains("component instances, over the limit of 10000"), "{message}");
        // Few instances, but of large components.
        let many = "(type u8)".repeat(10_000);
        let message =
            refused(&format!("(component (component $c {many}) {})", "(instance (instantiate $c))".repeat(101)));
        assert!(message.contains("1010101 definitions"), "{message}");
    }

    #[test]
    fn a_malformed_component_is_left_to_the_compiler() {
        let whole = wat::parse_str("(component (core module $m) (core instance (instantiate $m)))").unwrap();
        for end in 0..whole.len() {
            check(&whole[..end]).unwrap();
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x55;
            let _ = check(&flipped);
        }
    }
}
