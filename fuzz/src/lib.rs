//! The fuzz targets. Each is a function that must return for all bytes. It panics if something is wrong.

pub mod component;
pub mod manifest;
pub mod mutate;
pub mod value;
pub mod wire;

/// A target, by the name of its corpus.
pub struct Target {
    /// The name.
    pub name: &'static str,
    /// Tries one input.
    pub run: fn(&[u8]),
    /// Further files from which inputs are made, relative to this directory.
    pub more: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "manifest", run: manifest::run, more: &[] },
    Target { name: "value", run: value::run, more: &[] },
    Target { name: "wire", run: wire::run, more: &[] },
    Target { name: "component", run: component::run, more: &["../tests/guests/prebuilt/typed.wasm"] },
];
