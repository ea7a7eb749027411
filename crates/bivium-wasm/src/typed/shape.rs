//! [`Shape`]: a WIT type, taken in when the component is loaded.
//!
//! The engine hands types out piece by piece, each behind a reference count; a shape is the whole tree. Types of a
//! component are a graph in which a stranger can use one type many times over, so the size of the tree is bounded. What
//! has no JSON form (handles, streams) has no shape: such a component is refused before it runs.

use std::fmt;

use indexmap::{IndexMap, IndexSet};
use wasmtime::component::Type;

use super::layout::Part;

/// A type of values that can be written as JSON.
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
    /// `variant`: names of the cases and the types of what they carry.
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

    /// The name in WIT, the least value and the greatest.
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
    /// Bytes of a value.
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
    /// Whether `null` stands for one of its values. An option of such a type needs a form of its own.
    #[must_use]
    pub fn may_be_null(&self) -> bool {
        matches!(self, Self::Option(_))
    }

    /// Whether its values are numbers.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int(_) | Self::F32 | Self::F64)
    }
}

/// As in WIT, types without their names: the engine does not know those.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(int) => f.write_str(int.range().0),
            Self::F32 => f.write_str("f32"),
            Self::F64 => f.write_str("f64"),
            Self::Char => f.write_str("char"),
            Self::String => f.write_str("string"),
            Self::Bytes(None) => f.write_str("list<u8>"),
            Self::Bytes(Some(len)) => write!(f, "list<u8, {len}>"),
            Self::List(item, None) => write!(f, "list<{item}>"),
            Self::List(item, Some(len)) => write!(f, "list<{item}, {len}>"),
            Self::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Self::Tuple(items) => {
                f.write_str("tuple<")?;
                separated(f, items, |f, item| item.fmt(f))?;
                f.write_str(">")
            }
            Self::Record(fields) => {
                f.write_str("record { ")?;
                separated(f, fields, |f, (name, shape)| write!(f, "{name}: {shape}"))?;
                f.write_str(" }")
            }
            Self::Variant(cases) => {
                f.write_str("variant { ")?;
                separated(f, cases, |f, (name, shape)| match shape {
                    Some(shape) => write!(f, "{name}({shape})"),
                    None => f.write_str(name),
                })?;
                f.write_str(" }")
            }
            Self::Enum(names) => braces(f, "enum", names),
            Self::Flags(names) => braces(f, "flags", names),
            Self::Option(some) => write!(f, "option<{some}>"),
            Self::Result(None, None) => f.write_str("result"),
            Self::Result(Some(ok), None) => write!(f, "result<{ok}>"),
            Self::Result(None, Some(err)) => write!(f, "result<_, {err}>"),
            Self::Result(Some(ok), Some(err)) => write!(f, "result<{ok}, {err}>"),
        }
    }
}

fn braces(f: &mut fmt::Formatter<'_>, keyword: &str, names: &IndexSet<String>) -> fmt::Result {
    write!(f, "{keyword} {{ ")?;
    separated(f, names, |f, name| f.write_str(name))?;
    f.write_str(" }")
}

pub(super) fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    items: impl IntoIterator<Item = T>,
    write: impl Fn(&mut fmt::Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (n, item) in items.into_iter().enumerate() {
        if n > 0 {
            f.write_str(", ")?;
        }
        write(f, item)?;
    }
    Ok(())
}

/// Why a type has no shape; completes "the function `f` has …".
pub(super) type Unfit = &'static str;

/// Takes in the types of one component, as long as they are not too large together.
pub(super) struct Surveyor {
    left: usize,
}

/// What one type weighs in a tree, its name not counted.
const NODE: usize = 64;
/// What all types of a component may weigh together. The larger half of the published WASI interfaces would fit.
const MAX_WEIGHT: usize = 1 << 20;
/// How deep types may lie in each other. The JSON of a value is at most twice as deep, which parsers take.
const MAX_DEPTH: usize = 48;

impl Surveyor {
    pub(super) fn new() -> Self {
        Self { left: MAX_WEIGHT }
    }

    pub(super) fn part(&mut self, ty: &Type) -> Result<Part, Unfit> {
        self.at(ty, 0)
    }

    pub(super) fn name(&mut self, name: &str) -> Result<String, Unfit> {
        self.left = self.left.checked_sub(name.len()).ok_or("types that are too large")?;
        Ok(name.to_owned())
    }

    fn at(&mut self, ty: &Type, depth: usize) -> Result<Part, Unfit> {
        if depth > MAX_DEPTH {
            return Err("types that lie too deep in each other");
        }
        self.left = self.left.checked_sub(NODE).ok_or("types that are too large")?;
        let depth = depth + 1;
        Ok(Part::new(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::Int(Int::S8),
            Type::U8 => Shape::Int(Int::U8),
            Type::S16 => Shape::Int(Int::S16),
            Type::U16 => Shape::Int(Int::U16),
            Type::S32 => Shape::Int(Int::S32),
            Type::U32 => Shape::Int(Int::U32),
            Type::S64 => Shape::Int(Int::S64),
            Type::U64 => Shape::Int(Int::U64),
            Type::Float32 => Shape::F32,
            Type::Float64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) => self.list(&list.ty(), None, depth)?,
            Type::FixedLengthList(list) => self.list(&list.ty(), Some(list.len()), depth)?,
            Type::Map(map) => {
                Shape::Map(Box::new(self.at(&map.key(), depth)?), Box::new(self.at(&map.value(), depth)?))
            }
            Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| self.at(&ty, depth)).collect::<Result<_, _>>()?),
            Type::Record(record) => {
                let fields = record.fields().map(|field| Ok((self.name(field.name)?, self.at(&field.ty, depth)?)));
                Shape::Record(fields.collect::<Result<_, Unfit>>()?)
            }
            Type::Variant(variant) => {
                let cases = variant.cases().map(|case| Ok((self.name(case.name)?, self.within(case.ty, depth)?)));
                Shape::Variant(cases.collect::<Result<_, Unfit>>()?)
            }
            Type::Enum(names) => Shape::Enum(names.names().map(|name| self.name(name)).collect::<Result<_, _>>()?),
            Type::Flags(names) => Shape::Flags(names.names().map(|name| self.name(name)).collect::<Result<_, _>>()?),
            Type::Option(option) => Shape::Option(Box::new(self.at(&option.ty(), depth)?)),
            Type::Result(result) => {
                let (ok, err) = (self.within(result.ok(), depth)?, self.within(result.err(), depth)?);
                Shape::Result(ok.map(Box::new), err.map(Box::new))
            }
            Type::Own(_) | Type::Borrow(_) => return Err("a resource among its parameters or results"),
            Type::Future(_) => return Err("a future among its parameters or results"),
            Type::Stream(_) => return Err("a stream among its parameters or results"),
            Type::ErrorContext => return Err("an error-context among its parameters or results"),
        }))
    }

    fn list(&mut self, item: &Type, len: Option<u32>, depth: usize) -> Result<Shape, Unfit> {
        let item = self.at(item, depth)?;
        Ok(if *item == Shape::Int(Int::U8) { Shape::Bytes(len) } else { Shape::List(Box::new(item), len) })
    }

    fn within(&mut self, ty: Option<Type>, depth: usize) -> Result<Option<Part>, Unfit> {
        ty.map(|ty| self.at(&ty, depth)).transpose()
    }
}
