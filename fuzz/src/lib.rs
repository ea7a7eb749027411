//! The fuzz targets. Each is a function of bytes that must return whatever they are; what it finds wrong it panics with.

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
    /// Files beside the corpus that inputs are made of, from this directory.
    pub more: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "manifest", run: manifest::run, more: &[] },
    Target { name: "value", run: value::run, more: &[] },
    Target { name: "wire", run: wire::run, more: &[] },
    Target { name: "component", run: component::run, more: &["../tests/guests/prebuilt/typed.wasm"] },
];
