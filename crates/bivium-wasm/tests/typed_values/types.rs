//! Types of any kind, and their values in written form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bivium_wasm::fuzzing::{Int, Part, Shape};
use indexmap::IndexSet;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

fn names() -> impl Strategy<Value = IndexSet<String>> {
    prop::collection::hash_set("[a-z]{1,3}(-[a-z]{1,2})?", 1..5).prop_map(|names| names.into_iter().collect())
}

/// More names than one byte, or one word of flags, can hold.
fn many_names() -> impl Strategy<Value = IndexSet<String>> {
    (1_usize..33).prop_map(|count| (0..count).map(|n| format!("n{n}")).collect())
}

pub(crate) fn parts() -> impl Strategy<Value = Part> {
    let leaf = prop_oneof![
        Just(Shape::Bool),
        prop::sample::select(&Int::ALL[..]).prop_map(Shape::Int),
        Just(Shape::F32),
        Just(Shape::F64),
        Just(Shape::Char),
        Just(Shape::String),
        Just(Shape::Bytes(None)),
        (1_u32..5).prop_map(|len| Shape::Bytes(Some(len))),
        names().prop_map(Shape::Enum),
        names().prop_map(Shape::Flags),
        many_names().prop_map(Shape::Flags),
        Just(Shape::Enum((0..300).map(|n| format!("c{n}")).collect())),
    ];
    leaf.prop_map(Part::new).prop_recursive(4, 32, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let key = prop_oneof![
            Just(Shape::String),
            Just(Shape::Char),
            prop::sample::select(&Int::ALL[..]).prop_map(Shape::Int)
        ];
        let key = key.prop_map(|key| Box::new(Part::new(key)));
        prop_oneof![
            (boxed.clone(), prop::option::of(1_u32..4)).prop_map(|(item, len)| match **item {
                Shape::Int(Int::U8) => Shape::Bytes(len),
                _ => Shape::List(item, len),
            }),
            (key, boxed.clone()).prop_map(|(key, value)| Shape::Map(key, value)),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Shape::Tuple),
            (names(), prop::collection::vec(inner.clone(), 5))
                .prop_map(|(names, parts)| Shape::Record(names.into_iter().zip(parts).collect())),
            (names(), prop::collection::vec(prop::option::of(inner.clone()), 5))
                .prop_map(|(names, parts)| Shape::Variant(names.into_iter().zip(parts).collect())),
            boxed.clone().prop_map(Shape::Option),
            (prop::option::of(boxed.clone()), prop::option::of(boxed)).prop_map(|(ok, err)| Shape::Result(ok, err)),
        ]
        .prop_map(Part::new)
    })
}

/// Values of a type in written form.
pub(crate) fn values(part: &Part) -> BoxedStrategy<Value> {
    let listed = |len: Option<u32>, item: BoxedStrategy<Value>| {
        let sizes = len.map_or(0..=3, |len| len as usize..=len as usize);
        prop::collection::vec(item, sizes).prop_map(Value::from).boxed()
    };
    let carried = |part: Option<&Part>| part.map_or_else(|| Just(Value::Null).boxed(), values);
    match &**part {
        Shape::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Int(int) => {
            let (_, least, greatest) = int.range();
            prop_oneof![least..=greatest, Just(least), Just(greatest)].prop_map(whole).boxed()
        }
        Shape::F32 => any::<u32>()
            .prop_map(|bits| {
                let value = f32::from_bits(bits);
                if value.is_finite() { float(value.to_string().parse().unwrap()) } else { float(value.into()) }
            })
            .boxed(),
        Shape::F64 => any::<u64>().prop_map(|bits| float(f64::from_bits(bits))).boxed(),
        Shape::Char => any::<char>().prop_map(|one| one.to_string().into()).boxed(),
        Shape::String => any::<String>().prop_map(Value::from).boxed(),
        Shape::Bytes(len) => {
            let sizes = len.map_or(0..=3, |len| len as usize..=len as usize);
            prop::collection::vec(any::<u8>(), sizes).prop_map(|bytes| STANDARD.encode(bytes).into()).boxed()
        }
        Shape::List(item, len) => listed(*len, values(item)),
        Shape::Map(key, value) if ***key == Shape::String => {
            prop::collection::hash_map(any::<String>(), values(value), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
                .boxed()
        }
        Shape::Map(key, value) => prop::collection::vec((values(key), values(value)), 0..4)
            .prop_map(|pairs| pairs.into_iter().map(|(key, value)| json!([key, value])).collect())
            .boxed(),
        Shape::Tuple(parts) => parts.iter().map(values).collect::<Vec<_>>().prop_map(Value::from).boxed(),
        Shape::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            let values: Vec<_> = fields.iter().map(|(_, part)| values(part)).collect();
            values.prop_map(move |values| Value::Object(names.iter().cloned().zip(values).collect())).boxed()
        }
        Shape::Variant(cases) => {
            let cases: Vec<_> = cases
                .iter()
                .map(|(name, part)| match part {
                    None => Just(Value::from(name.clone())).boxed(),
                    Some(part) => tagged(name.clone(), values(part)),
                })
                .collect();
            prop::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(names) => {
            prop::sample::select(names.iter().cloned().collect::<Vec<_>>()).prop_map(Value::from).boxed()
        }
        Shape::Option(some) if some.may_be_null() => {
            prop_oneof![Just(Value::Null), tagged("some".to_owned(), values(some))].boxed()
        }
        Shape::Option(some) => prop_oneof![Just(Value::Null), values(some)].boxed(),
        Shape::Result(ok, err) => prop_oneof![
            tagged("ok".to_owned(), carried(ok.as_deref())),
            tagged("err".to_owned(), carried(err.as_deref())),
        ]
        .boxed(),
        Shape::Flags(names) => {
            let names: Vec<String> = names.iter().cloned().collect();
            prop::sample::subsequence(names.clone(), 0..=names.len()).prop_map(Value::from).boxed()
        }
    }
}

fn tagged(name: String, value: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    value.prop_map(move |value| Value::Object(Map::from_iter([(name.clone(), value)]))).boxed()
}

/// Whole numbers that not every program can hold exactly are written as strings.
fn whole(number: i128) -> Value {
    match i64::try_from(number) {
        Ok(small) if small.unsigned_abs() <= 1 << 53 => small.into(),
        _ => number.to_string().into(),
    }
}

fn float(value: f64) -> Value {
    match value {
        value if value.is_nan() => "NaN".into(),
        f64::INFINITY => "Infinity".into(),
        f64::NEG_INFINITY => "-Infinity".into(),
        value => value.into(),
    }
}

pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z]{0,3}".prop_map(Value::from),
        prop::sample::select(&["NaN", "Infinity", "18446744073709551615", "-1", "YWI="][..]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("(ok|err|some|[$]{0,2}blob|[a-z]{1,2})", inner, 0..4)
                .prop_map(|object| Value::Object(object.into_iter().collect())),
        ]
    })
}
