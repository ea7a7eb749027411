//! [`Shape`]: a WIT type, and [`Part`]: the same with its layout in a component's memory.
//!
//! The engine gives types piece by piece, each behind a reference count; a shape is the whole tree. The types of a component are a graph in
//! which one type can be used many times, so the size of the tree is limited. Types without a JSON form (handles, streams) have no shape:
//! a function with one is refused before the component runs.
//!
//! The engine computes the layout itself; each call compares the engine's layout with this one before a value is passed.

use std::ops::Deref;

use indexmap::{IndexMap, IndexSet};
use wasmtime::component::__internal::CanonicalAbiInfo;

/// A type whose values can be written as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// `bool`.
    Bool,
    /// `s8` to `u64`.
    Int(Int),
    /// `f32`.
    F32,
    /// `f64`.
    F64,
    /// `char`.
    Char,
    /// `string`.
    String,
    /// `list<u8>`, of any length or of a fixed one: data, not numbers.
    Bytes(Option<u32>),
    /// `list<T>`, of any length or of a fixed one.
    List(Box<Part>, Option<u32>),
    /// `map<K, V>`.
    Map(Box<Part>, Box<Part>),
    /// `tuple<…>`.
    Tuple(Vec<Part>),
    /// `record`: names and types of the fields.
    Record(Vec<(String, Part)>),
    /// `variant`: the names of the cases and the types of their payloads.
    Variant(IndexMap<String, Option<Part>>),
    /// `enum`: the names.
    Enum(IndexSet<String>),
    /// `option<T>`.
    Option(Box<Part>),
    /// `result<T, E>`.
    Result(Option<Box<Part>>, Option<Box<Part>>),
    /// `flags`: the names.
    Flags(IndexSet<String>),
}

/// A type of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are named as in WIT")]
pub enum Int {
    S8,
    U8,
    S16,
    U16,
    S32,
    U32,
    S64,
    U64,
}

impl Int {
    /// Every type.
    pub const ALL: [Self; 8] = [Self::S8, Self::U8, Self::S16, Self::U16, Self::S32, Self::U32, Self::S64, Self::U64];

    /// The name in WIT, the smallest value and the largest.
    #[must_use]
    pub fn range(self) -> (&'static str, i128, i128) {
        match self {
            Self::S8 => ("s8", i8::MIN.into(), i8::MAX.into()),
            Self::U8 => ("u8", 0, u8::MAX.into()),
            Self::S16 => ("s16", i16::MIN.into(), i16::MAX.into()),
            Self::U16 => ("u16", 0, u16::MAX.into()),
            Self::S32 => ("s32", i32::MIN.into(), i32::MAX.into()),
            Self::U32 => ("u32", 0, u32::MAX.into()),
            Self::S64 => ("s64", i64::MIN.into(), i64::MAX.into()),
            Self::U64 => ("u64", 0, u64::MAX.into()),
        }
    }
}

impl Int {
    /// The size of a value in bytes.
    pub(super) fn size(self) -> usize {
        match self {
            Self::S8 | Self::U8 => 1,
            Self::S16 | Self::U16 => 2,
            Self::S32 | Self::U32 => 4,
            Self::S64 | Self::U64 => 8,
        }
    }
}

impl Shape {
    /// Whether `null` is one of its values. An option of such a type needs a special form.
    #[must_use]
    pub fn may_be_null(&self) -> bool {
        matches!(self, Self::Option(_))
    }

    /// Whether its values are numbers.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::F32 | Self::F64)
    }
}

/// A type and its layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    shape: Shape,
    abi: CanonicalAbiInfo,
}

impl Part {
    /// Computes the layout of a type.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        let abi = abi_of(&shape);
        Self { shape, abi }
    }

    pub(super) fn abi(&self) -> &CanonicalAbiInfo {
        &self.abi
    }

    /// The size of one value in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        self.abi.size32 as usize
    }

    pub(super) fn align(&self) -> u32 {
        self.abi.align32
    }

    /// The offset of a case's payload in a variant, an option or a result of this type. The discriminant is at the beginning, and its
    /// alignment is never larger than that of the whole.
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

/// The layout of consecutive values.
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
