//! [`Part`]: a type with its layout in a component's memory, by the rules of the canonical ABI.
//!
//! The engine computes the layout itself; each call holds the engine's own against this one before a value crosses.

use std::fmt;
use std::ops::Deref;

use wasmtime::component::__internal::CanonicalAbiInfo;

use super::shape::{Int, Shape};

/// A type and its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    shape: Shape,
    abi: CanonicalAbiInfo,
}

impl Part {
    /// Lays a type out.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let abi = abi_of(&shape);
        Self { shape, abi }
    }

    pub(super) fn abi(&self) -> &CanonicalAbiInfo {
        &self.abi
    }

    /// Bytes of one value, where it lies.
    pub(super) fn size(&self) -> usize {
        self.abi.size32 as usize
    }

    pub(super) fn align(&self) -> u32 {
        self.abi.align32
    }

    /// Where what a case carries lies in a variant, an option or a result of this type. The discriminant lies at the
    /// beginning and is never aligned more strictly than the whole.
    pub(super) fn carried_at(&self) -> usize {
        self.abi.align32 as usize
    }
}

impl From<Shape> for Part {
    fn from(shape: Shape) -> Self {
        Self::new(shape)
    }
}

impl Deref for Part {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shape.fmt(f)
    }
}

/// The places of values that follow one another, as in a record.
pub(super) struct Places(usize);

impl Places {
    pub(super) fn from(start: usize) -> Self {
        Self(start)
    }

    pub(super) fn next(&mut self, part: &Part) -> usize {
        let place = self.0.next_multiple_of(part.align() as usize);
        self.0 = place + part.size();
        place
    }
}

/// Bytes of the number that says which of so many cases it is.
pub(super) fn discriminant(cases: usize) -> usize {
    match cases {
        0..=0x100 => 1,
        0x101..=0x1_0000 => 2,
        _ => 4,
    }
}

/// The layout of values that follow one another.
pub(super) fn frame<'a>(parts: impl Iterator<Item = &'a Part>) -> CanonicalAbiInfo {
    CanonicalAbiInfo::record(parts.map(Part::abi))
}

fn abi_of(shape: &Shape) -> CanonicalAbiInfo {
    let case = |part: &Option<Box<Part>>| part.as_ref().map(|part| part.abi.clone());
    match shape {
        Shape::Bool | Shape::Int(Int::S8 | Int::U8) => CanonicalAbiInfo::SCALAR1,
        Shape::Int(Int::S16 | Int::U16) => CanonicalAbiInfo::SCALAR2,
        Shape::Int(Int::S32 | Int::U32) | Shape::F32 | Shape::Char => CanonicalAbiInfo::SCALAR4,
        Shape::Int(Int::S64 | Int::U64) | Shape::F64 => CanonicalAbiInfo::SCALAR8,
        Shape::String | Shape::Bytes(None) | Shape::List(_, None) | Shape::Map(..) => CanonicalAbiInfo::POINTER_PAIR,
        Shape::Bytes(Some(len)) => {
            CanonicalAbiInfo::fixed_length_list_static(&CanonicalAbiInfo::SCALAR1, *len as usize)
        }
        Shape::List(item, Some(len)) => CanonicalAbiInfo::fixed_length_list_static(&item.abi, *len as usize),
        Shape::Tuple(items) => frame(items.iter()),
        Shape::Record(fields) => frame(fields.iter().map(|(_, part)| part)),
        Shape::Variant(cases) => {
            let cases: Vec<_> = cases.values().map(|part| part.as_ref().map(|part| part.abi.clone())).collect();
            CanonicalAbiInfo::variant_static(&cases)
        }
        Shape::Enum(names) => CanonicalAbiInfo::enum_(names.len()),
        Shape::Option(some) => CanonicalAbiInfo::variant_static(&[None, Some(some.abi.clone())]),
        Shape::Result(ok, err) => CanonicalAbiInfo::variant_static(&[case(ok), case(err)]),
        Shape::Flags(names) => CanonicalAbiInfo::flags(names.len()),
    }
}
