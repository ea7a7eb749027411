//! Values of any type, from JSON and to JSON.

use arbitrary::{Arbitrary, Result, Unstructured};
use bivium_wasm::fuzzing::{Int, Shape, read, write};
use serde_json::Value;
use wasmtime::component::Val;

/// What a value and its JSON may take up.
const LIMIT: usize = 16 << 20;
const DEPTH: usize = 5;

/// The first bytes are a type. With one half of the inputs, those that follow are a value of it, which must survive
/// being written and read; with the other half they are JSON, and what can be read of it must survive the same.
pub fn run(data: &[u8]) {
    let mut u = Unstructured::new(data);
    // Too few bytes for anything.
    let Ok(shape) = shape(&mut u, DEPTH) else { return };
    if u.arbitrary().unwrap_or(false) {
        if let Ok(val) = val(&shape, &mut u) {
            survives(&shape, val);
        }
    } else if let Ok(json) = serde_json::from_slice::<Value>(u.take_rest()) {
        match read(&shape, json, LIMIT) {
            Ok(val) => survives(&shape, val),
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 16 << 10 && text.lines().count() == 1, "{text}");
            }
        }
    }
}

fn survives(shape: &Shape, val: Val) {
    let json = write(shape, val.clone(), LIMIT).expect("a value of its type can be written");
    let text = json.to_string();
    let json = serde_json::from_str(&text).expect("JSON is JSON");
    match read(shape, json, LIMIT) {
        Ok(again) => assert_eq!(again, val, "{shape} as {text}"),
        Err(error) => panic!("{error}: {shape} as {text}"),
    }
}

/// A type.
fn shape(u: &mut Unstructured<'_>, depth: usize) -> Result<Shape> {
    let inner = |u: &mut Unstructured<'_>| shape(u, depth.saturating_sub(1));
    let boxed = |u: &mut Unstructured<'_>| inner(u).map(Box::new);
    let maybe = |u: &mut Unstructured<'_>| if u.arbitrary()? { inner(u).map(Some) } else { Ok(None) };
    let kinds = if depth == 0 { 8 } else { 15 };
    Ok(match u.int_in_range(0..=kinds)? {
        0 => Shape::Bool,
        1 => Shape::Int(*u.choose(&Int::ALL)?),
        2 => Shape::F32,
        3 => Shape::F64,
        4 => Shape::Char,
        5 => Shape::String,
        6 => Shape::Bytes(if u.arbitrary()? { Some(u.int_in_range(0..=9)?) } else { None }),
        7 => Shape::Enum(names(u)?.into_iter().collect()),
        8 => Shape::Flags(names(u)?.into_iter().collect()),
        9 => {
            let len = if u.arbitrary()? { Some(u.int_in_range(0..=4)?) } else { None };
            match inner(u)? {
                Shape::Int(Int::U8) => Shape::Bytes(len),
                item => Shape::List(Box::new(item), len),
            }
        }
        10 => {
            let key = match u.int_in_range(0..=3)? {
                0 => Shape::Bool,
                1 => Shape::Char,
                2 => Shape::Int(*u.choose(&Int::ALL)?),
                _ => Shape::String,
            };
            Shape::Map(Box::new(key), boxed(u)?)
        }
        11 => Shape::Tuple((0..u.int_in_range(1..=4)?).map(|_| inner(u)).collect::<Result<_>>()?),
        12 => Shape::Record(names(u)?.into_iter().map(|name| Ok((name, inner(u)?))).collect::<Result<_>>()?),
        13 => Shape::Variant(names(u)?.into_iter().map(|name| Ok((name, maybe(u)?))).collect::<Result<_>>()?),
        14 => Shape::Option(boxed(u)?),
        _ => Shape::Result(maybe(u)?.map(Box::new), maybe(u)?.map(Box::new)),
    })
}

/// Names as WIT has them, each once.
fn names(u: &mut Unstructured<'_>) -> Result<Vec<String>> {
    (0..u.int_in_range(1..=5)?)
        .map(|n| Ok(format!("{}{n}", *u.choose(&["a", "ok", "err", "some", "none", "two-words", "x"])?)))
        .collect()
}

/// A value of a type.
fn val(shape: &Shape, u: &mut Unstructured<'_>) -> Result<Val> {
    let listed = |len: &Option<u32>, u: &mut Unstructured<'_>, item: &Shape| {
        let count = match len {
            Some(len) => *len,
            None => u.int_in_range(0..=9)?,
        };
        let items = (0..count).map(|_| val(item, u)).collect::<Result<_>>()?;
        Ok(if len.is_some() { Val::FixedLengthList(items) } else { Val::List(items) })
    };
    let carried =
        |shape: Option<&Shape>, u: &mut Unstructured<'_>| shape.map(|shape| val(shape, u).map(Box::new)).transpose();
    Ok(match shape {
        Shape::Bool => Val::Bool(u.arbitrary()?),
        Shape::Int(Int::S8) => Val::S8(u.arbitrary()?),
        Shape::Int(Int::U8) => Val::U8(u.arbitrary()?),
        Shape::Int(Int::S16) => Val::S16(u.arbitrary()?),
        Shape::Int(Int::U16) => Val::U16(u.arbitrary()?),
        Shape::Int(Int::S32) => Val::S32(u.arbitrary()?),
        Shape::Int(Int::U32) => Val::U32(u.arbitrary()?),
        Shape::Int(Int::S64) => Val::S64(u.arbitrary()?),
        Shape::Int(Int::U64) => Val::U64(u.arbitrary()?),
        Shape::F32 => Val::Float32(u.arbitrary()?),
        Shape::F64 => Val::Float64(u.arbitrary()?),
        Shape::Char => Val::Char(u.arbitrary()?),
        Shape::String => Val::String(u.arbitrary()?),
        Shape::Bytes(len) => listed(len, u, &Shape::Int(Int::U8))?,
        Shape::List(item, len) => listed(len, u, item)?,
        Shape::Map(key, value) => {
            let mut entries: Vec<(Val, Val)> = Vec::new();
            for _ in 0..u.int_in_range(0..=4)? {
                let entry = (val(key, u)?, val(value, u)?);
                // Of entries with the same key only the last would come back.
                if entries.iter().all(|(known, _)| *known != entry.0) {
                    entries.push(entry);
                }
            }
            Val::Map(entries)
        }
        Shape::Tuple(shapes) => Val::Tuple(shapes.iter().map(|shape| val(shape, u)).collect::<Result<_>>()?),
        Shape::Record(fields) => {
            let fields = fields.iter().map(|(name, shape)| Ok((name.clone(), val(shape, u)?)));
            Val::Record(fields.collect::<Result<_>>()?)
        }
        Shape::Variant(cases) => {
            let (name, shape) = u.choose_iter(cases.iter())?;
            Val::Variant(name.clone(), carried(shape.as_ref(), u)?)
        }
        Shape::Enum(names) => Val::Enum(u.choose_iter(names.iter())?.clone()),
        Shape::Option(some) => Val::Option(carried(bool::arbitrary(u)?.then_some(&**some), u)?),
        Shape::Result(ok, err) => {
            Val::Result(if u.arbitrary()? { Ok(carried(ok.as_deref(), u)?) } else { Err(carried(err.as_deref(), u)?) })
        }
        Shape::Flags(names) => {
            let mut set = Vec::new();
            for name in names {
                if u.arbitrary()? {
                    set.push(name.clone());
                }
            }
            Val::Flags(set)
        }
    })
}
