//! Types in WIT syntax.

use std::fmt;

use indexmap::IndexSet;

use super::shape::{Part, Shape};

/// In WIT syntax, without the names of types, which the engine does not know.
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

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shape::fmt(self, f)
    }
}
