//! [`Types`]: reads the types of a component when it is loaded, with a limit on their size.

use wasmtime::component::Type;

use super::shape::{Int, Part, Shape};

/// Why a type has no shape. Completes "the function `f` has …".
pub(super) type Unfit = &'static str;

/// Reads the types of one component, with a limit on their total size.
pub(super) struct Types {
    left: usize,
}

/// What one type counts for, without its name.
const NODE: usize = 64;
/// The most that all types of a component may count for. The larger half of the published WASI interfaces would fit.
const MAX_WEIGHT: usize = 1 << 20;
/// The deepest nesting of types. The JSON of a value is at most twice as deep, which parsers accept.
const MAX_DEPTH: usize = 48;

impl Types {
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
            return Err("types that are nested too deeply");
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
