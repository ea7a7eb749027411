//! Values of any type, converted from JSON and to JSON.

use arbitrary::{Result, Unstructured};
use bivium_interface::ErrorCode;
use bivium_wasm::fuzzing::{Int, Part, Shape, read, write};
use serde_json::Value;

/// How much memory a value and its JSON may use.
const LIMIT: usize = 16 << 20;
const DEPTH: usize = 5;

/// The first bytes are a type. For one half of the inputs, the other bytes are the memory of a guest, which may contain a value of that
/// type. For the other half they are JSON. A value must be the same after it is written and read.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // Too few bytes for anything.
    let Ok(part) = part(&mut u, DEPTH) else { return };
    if u.arbitrary().unwrap_or(false) {
        let at = usize::from(u.arbitrary::<u8>().unwrap_or(0));
        if let Some(written) = write(&part, u.take_rest(), at, LIMIT) {
            survives(&part, written.json);
        }
    } else if let Ok(json) = serde_json::from_slice::<Value>(u.take_rest()) {
        match read(&part, json, LIMIT) {
            Ok(laid) => {
                let (memory, at) = laid.memory();
                survives(&part, write(&part, &memory, at, LIMIT).expect("what was read can be written").json);
            }
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 16 << 10 && text.lines().count() == 1, "{text}");
            }
        }
    }
}

fn survives(part: &Part, json: Value) {
    let text = json.to_string();
    let parsed = serde_json::from_str(&text).expect("JSON is JSON");
    match read(part, parsed, LIMIT) {
        Ok(laid) => {
            let (memory, at) = laid.memory();
            let again = write(part, &memory, at, LIMIT).map(|written| written.json);
            assert_eq!(again, Some(json), "{part} as {text}");
        }
        // The JSON may be large although the value is small, or the other way round.
        Err(error) => assert!(error.code() == ErrorCode::ResourceExhausted, "{error}: {part} as {text}"),
    }
}

/// A type.
fn part(u: &mut Unstructured<'_>, depth: usize) -> Result<Part> {
    let inner = |u: &mut Unstructured<'_>| part(u, depth.saturating_sub(1));
    let boxed = |u: &mut Unstructured<'_>| inner(u).map(Box::new);
    let maybe = |u: &mut Unstructured<'_>| if u.arbitrary()? { inner(u).map(Some) } else { Ok(None) };
    let kinds = if depth == 0 { 8 } else { 15 };
    Ok(Part::new(match u.int_in_range(0..=kinds)? {
        0 => Shape::Bool,
        1 => Shape::Int(*u.choose(&Int::ALL)?),
        2 => Shape::F32,
        3 => Shape::F64,
        4 => Shape::Char,
        5 => Shape::String,
        6 => Shape::Bytes(if u.arbitrary()? { Some(u.int_in_range(1..=9)?) } else { None }),
        7 => Shape::Enum(names(u)?.into_iter().collect()),
        8 => Shape::Flags(names(u)?.into_iter().collect()),
        9 => {
            let len = if u.arbitrary()? { Some(u.int_in_range(1..=4)?) } else { None };
            let item = inner(u)?;
            if *item == Shape::Int(Int::U8) { Shape::Bytes(len) } else { Shape::List(Box::new(item), len) }
        }
        10 => {
            let key = match u.int_in_range(0..=3)? {
                0 => Shape::Bool,
                1 => Shape::Char,
                2 => Shape::Int(*u.choose(&Int::ALL)?),
                _ => Shape::String,
            };
            Shape::Map(Box::new(Part::new(key)), boxed(u)?)
        }
        11 => Shape::Tuple((0..u.int_in_range(1..=4)?).map(|_| inner(u)).collect::<Result<_>>()?),
        12 => Shape::Record(names(u)?.into_iter().map(|name| Ok((name, inner(u)?))).collect::<Result<_>>()?),
        13 => Shape::Variant(names(u)?.into_iter().map(|name| Ok((name, maybe(u)?))).collect::<Result<_>>()?),
        14 => Shape::Option(boxed(u)?),
        _ => Shape::Result(maybe(u)?.map(Box::new), maybe(u)?.map(Box::new)),
    }))
}

/// Names that WIT allows, without duplicates.
fn names(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    (0..u.int_in_range(1..=5)?)
        .map(|n| Ok(format!("{}{n}", *u.choose(&["a", "ok", "err", "some", "none", "two-words", "x"])?)))
        .collect()
}
