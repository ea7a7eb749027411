//! Values as numbers: the canonical ABI passes few values directly, not in memory.

use wasmtime::ValRaw;

use super::layout::{Places, discriminant};
use super::memory::Broken;
use super::shape::{Int, Part, Shape};

/// Appends the numbers for the value that lies at `at` in `bytes`.
pub(super) fn flatten(part: &Part, bytes: &[u8], at: usize, to: &mut Vec<ValRaw>) -> Option<()> {
    let array = |at: usize| bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    let long = |at: usize| bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    match &**part {
        Shape::Bool | Shape::Int(Int::U8) => to.push(ValRaw::u32((*bytes.get(at)?).into())),
        Shape::Int(Int::S8) => to.push(ValRaw::i32(bytes.get(at)?.cast_signed().into())),
        Shape::Int(Int::U16) => to.push(ValRaw::u32(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())),
        Shape::Int(Int::S16) => to.push(ValRaw::i32(i16::from_le_bytes(*bytes.get(at..)?.first_chunk()?).into())),
        Shape::Int(Int::U32 | Int::S32) | Shape::Char => to.push(ValRaw::u32(array(at)?)),
        Shape::Int(Int::U64 | Int::S64) => to.push(ValRaw::u64(long(at)?)),
        Shape::F32 => to.push(ValRaw::f32(array(at)?)),
        Shape::F64 => to.push(ValRaw::f64(long(at)?)),
        Shape::String | Shape::Bytes(None) | Shape::List(_, None) | Shape::Map(..) => {
            to.push(ValRaw::u32(array(at)?));
            to.push(ValRaw::u32(array(at + 4)?));
        }
        Shape::Bytes(Some(len)) => {
            let bytes = bytes.get(at..at.checked_add(*len as usize)?)?;
            to.extend(bytes.iter().map(|byte| ValRaw::u32((*byte).into())));
        }
        Shape::List(item, Some(len)) => {
            for n in 0..*len as usize {
                flatten(item, bytes, at + n * item.size(), to)?;
            }
        }
        Shape::Tuple(parts) => {
            let mut places = Places::from(at);
            for part in parts {
                flatten(part, bytes, places.next(part), to)?;
            }
        }
        Shape::Record(fields) => {
            let mut places = Places::from(at);
            for (_, part) in fields {
                flatten(part, bytes, places.next(part), to)?;
            }
        }
        Shape::Flags(_) => match part.size() {
            4.. => {
                for at in (at..at + part.size()).step_by(4) {
                    to.push(ValRaw::u32(array(at)?));
                }
            }
            size => to.push(ValRaw::u32(small(bytes, at, size)?)),
        },
        Shape::Variant(cases) => {
            let case = small(bytes, at, discriminant(cases.len()))?;
            let carried = cases.get_index(case as usize)?.1.as_ref();
            one_of(part, case, carried, bytes, at, to)?;
        }
        Shape::Enum(names) => to.push(ValRaw::u32(small(bytes, at, discriminant(names.len()))?)),
        Shape::Option(some) => {
            let case = small(bytes, at, 1)?;
            one_of(part, case, (case == 1).then_some(&**some), bytes, at, to)?;
        }
        Shape::Result(ok, err) => {
            let case = small(bytes, at, 1)?;
            one_of(part, case, if case == 0 { ok } else { err }.as_deref(), bytes, at, to)?;
        }
    }
    Some(())
}

/// The numbers of a case and its payload, filled with zeros up to the size of the largest case.
fn one_of(part: &Part, case: u32, carried: Option<&Part>, bytes: &[u8], at: usize, to: &mut Vec<ValRaw>) -> Option<()> {
    let end = to.len() + usize::from(part.abi().flat_count?);
    to.push(ValRaw::u32(case));
    if let Some(carried) = carried {
        flatten(carried, bytes, at + part.carried_at(), to)?;
    }
    to.resize(end, ValRaw::u64(0));
    Some(())
}

/// A number of one, two or four bytes.
fn small(bytes: &[u8], at: usize, size: usize) -> Option<u32> {
    let mut number = [0; 4];
    number.get_mut(..size)?.copy_from_slice(bytes.get(at..at.checked_add(size)?)?);
    Some(u32::from_le_bytes(number))
}

/// The bytes in memory of a value that was returned as one number, and how many of them count.
pub(super) fn lay_out(part: &Part, number: &ValRaw) -> Result<([u8; 8], usize), Broken> {
    let size = part.size();
    if size > 4 {
        return Ok((number.get_u64().to_le_bytes(), size.min(8)));
    }
    let bytes = number.get_u32();
    let is_case = matches!(**only(part), Shape::Enum(_) | Shape::Variant(_) | Shape::Option(_) | Shape::Result(..));
    // For other types the higher bits do not count.
    if is_case && size < 4 && bytes >> (8 * size) != 0 {
        return Err(Broken("a discriminant without a case"));
    }
    let [a, b, c, d] = bytes.to_le_bytes();
    Ok(([a, b, c, d, 0, 0, 0, 0], size))
}

/// The innermost type of a value that is one number.
fn only(part: &Part) -> &Part {
    match &**part {
        Shape::Tuple(parts) => parts.first().map_or(part, only),
        Shape::Record(fields) => fields.first().map_or(part, |(_, part)| only(part)),
        Shape::List(item, Some(_)) => only(item),
        _ => part,
    }
}
