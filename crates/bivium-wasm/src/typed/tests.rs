//! JSON and component values, of any type: what is written is read back as it was.

use indexmap::IndexSet;
use proptest::prelude::*;
use serde_json::{Value, json};
use wasmtime::component::Val;

use super::shape::{Int, Shape};
use super::{schema, write::MAX_INLINE};
use crate::fuzzing::{read, write};

const LIMIT: usize = 64 << 20;

fn names() -> impl Strategy<Value = IndexSet<String>> {
    prop::collection::hash_set("[a-z]{1,3}(-[a-z]{1,2})?", 1..5).prop_map(|names| names.into_iter().collect())
}

fn shapes() -> impl Strategy<Value = Shape> {
    let leaf = prop_oneof![
        Just(Shape::Bool),
        prop::sample::select(&Int::ALL[..]).prop_map(Shape::Int),
        Just(Shape::F32),
        Just(Shape::F64),
        Just(Shape::Char),
        Just(Shape::String),
        prop::option::of(0_u32..5).prop_map(Shape::Bytes),
        names().prop_map(Shape::Enum),
        names().prop_map(Shape::Flags),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let boxed = inner.clone().prop_map(Box::new);
        let key = prop_oneof![
            Just(Shape::String),
            Just(Shape::Char),
            prop::sample::select(&Int::ALL[..]).prop_map(Shape::Int)
        ];
        prop_oneof![
            (boxed.clone(), prop::option::of(0_u32..4)).prop_map(|(item, len)| match (*item, len) {
                (Shape::Int(Int::U8), len) => Shape::Bytes(len),
                (item, len) => Shape::List(Box::new(item), len),
            }),
            (key, boxed.clone()).prop_map(|(key, value)| Shape::Map(Box::new(key), value)),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Shape::Tuple),
            (names(), prop::collection::vec(inner.clone(), 5))
                .prop_map(|(names, shapes)| Shape::Record(names.into_iter().zip(shapes).collect())),
            (names(), prop::collection::vec(prop::option::of(inner.clone()), 5))
                .prop_map(|(names, shapes)| Shape::Variant(names.into_iter().zip(shapes).collect())),
            boxed.clone().prop_map(Shape::Option),
            (prop::option::of(boxed.clone()), prop::option::of(boxed)).prop_map(|(ok, err)| Shape::Result(ok, err)),
        ]
    })
}

/// Values of a type.
fn vals(shape: &Shape) -> BoxedStrategy<Val> {
    let listed = |len: Option<u32>, items: BoxedStrategy<Val>| match len {
        None => prop::collection::vec(items, 0..4).prop_map(Val::List).boxed(),
        Some(len) => prop::collection::vec(items, len as usize).prop_map(Val::FixedLengthList).boxed(),
    };
    let maybe = |shape: &Option<Box<Shape>>| match shape {
        Some(shape) => vals(shape).prop_map(|val| Some(Box::new(val))).boxed(),
        None => Just(None).boxed(),
    };
    match shape {
        Shape::Bool => any::<bool>().prop_map(Val::Bool).boxed(),
        Shape::Int(int) => match int {
            Int::S8 => any::<i8>().prop_map(Val::S8).boxed(),
            Int::U8 => any::<u8>().prop_map(Val::U8).boxed(),
            Int::S16 => any::<i16>().prop_map(Val::S16).boxed(),
            Int::U16 => any::<u16>().prop_map(Val::U16).boxed(),
            Int::S32 => any::<i32>().prop_map(Val::S32).boxed(),
            Int::U32 => any::<u32>().prop_map(Val::U32).boxed(),
            Int::S64 => any::<i64>().prop_map(Val::S64).boxed(),
            Int::U64 => any::<u64>().prop_map(Val::U64).boxed(),
        },
        Shape::F32 => any::<u32>().prop_map(|bits| Val::Float32(f32::from_bits(bits))).boxed(),
        Shape::F64 => any::<u64>().prop_map(|bits| Val::Float64(f64::from_bits(bits))).boxed(),
        Shape::Char => any::<char>().prop_map(Val::Char).boxed(),
        Shape::String => any::<String>().prop_map(Val::String).boxed(),
        Shape::Bytes(len) => listed(*len, any::<u8>().prop_map(Val::U8).boxed()),
        Shape::List(item, len) => listed(*len, vals(item)),
        // Keys that differ, since of two equal ones the last counts, and in an order that objects keep.
        Shape::Map(key, value) => prop::collection::vec((vals(key), vals(value)), 0..4)
            .prop_map(|entries| {
                let mut distinct: Vec<(Val, Val)> = Vec::new();
                for (key, value) in entries {
                    if distinct.iter().all(|(known, _)| *known != key) {
                        distinct.push((key, value));
                    }
                }
                Val::Map(distinct)
            })
            .boxed(),
        Shape::Tuple(shapes) => shapes.iter().map(vals).collect::<Vec<_>>().prop_map(Val::Tuple).boxed(),
        Shape::Record(fields) => {
            let names: Vec<String> = fields.iter().map(|(name, _)| name.clone()).collect();
            let values: Vec<_> = fields.iter().map(|(_, shape)| vals(shape)).collect();
            values.prop_map(move |values| Val::Record(names.iter().cloned().zip(values).collect())).boxed()
        }
        Shape::Variant(cases) => {
            let cases: Vec<_> = cases
                .iter()
                .map(|(name, shape)| {
                    let name = name.clone();
                    maybe(&shape.clone().map(Box::new)).prop_map(move |val| Val::Variant(name.clone(), val)).boxed()
                })
                .collect();
            prop::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(names) => {
            prop::sample::select(names.iter().cloned().collect::<Vec<_>>()).prop_map(Val::Enum).boxed()
        }
        Shape::Option(some) => prop::option::of(vals(some)).prop_map(|val| Val::Option(val.map(Box::new))).boxed(),
        Shape::Result(ok, err) => prop_oneof![
            maybe(ok).prop_map(|val| Val::Result(Ok(val))),
            maybe(err).prop_map(|val| Val::Result(Err(val))),
        ]
        .boxed(),
        Shape::Flags(names) => {
            let names: Vec<String> = names.iter().cloned().collect();
            prop::sample::subsequence(names.clone(), 0..=names.len()).prop_map(Val::Flags).boxed()
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
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

proptest! {
    #[test]
    fn a_value_survives_being_written_and_read_and_fits_its_schema(
        (shape, val) in shapes().prop_flat_map(|shape| (Just(shape.clone()), vals(&shape)))
    ) {
        let json = write(&shape, val.clone(), LIMIT).unwrap();
        let text = json.to_string();
        let json: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read(&shape, json.clone(), LIMIT).unwrap(), &val, "{} as {}", shape, text);
        // A schema knows nothing of the outermost result's error, and none of the shapes is one here.
        let wrapped = Shape::Tuple(vec![shape]);
        let validator = jsonschema::draft202012::new(&schema::of_result(Some(&wrapped))).unwrap();
        prop_assert!(validator.is_valid(&json!([json])), "{} is not valid for {}", json, wrapped);
    }

    #[test]
    fn whatever_is_read_is_written_and_read_again_the_same(shape in shapes(), json in any_json()) {
        if let Ok(val) = read(&shape, json, LIMIT) {
            let json = write(&shape, val.clone(), LIMIT).unwrap();
            prop_assert_eq!(read(&shape, json, LIMIT).unwrap(), val);
        }
    }
}

#[test]
fn what_values_take_up_is_bounded_both_ways() {
    let list = Shape::List(Box::new(Shape::Bool), None);
    let json = Value::from(vec![true; 1000]);
    assert!(read(&list, json.clone(), 1000 * size_of::<Val>()).is_err());
    let val = read(&list, json, 1001 * size_of::<Val>()).unwrap();
    assert!(write(&list, val.clone(), 2000).is_none());
    assert!(write(&list, val, 2002).is_some());
    let bytes = Value::from("A".repeat(4 * MAX_INLINE));
    assert!(read(&Shape::Bytes(None), bytes, 3 * MAX_INLINE * size_of::<Val>()).is_err());
}

#[test]
fn keys_of_a_map_that_look_like_blobs_are_escaped() {
    let map = Shape::Map(Box::new(Shape::String), Box::new(Shape::Int(Int::U8)));
    let val = Val::Map(vec![(Val::String("$blob".into()), Val::U8(0)), (Val::String("$$blob".into()), Val::U8(1))]);
    let json = write(&map, val.clone(), LIMIT).unwrap();
    assert_eq!(json, json!({"$$blob": 0, "$$$blob": 1}));
    assert_eq!(read(&map, json, LIMIT).unwrap(), val);
    let reference = read(&map, json!({"$blob": 0}), LIMIT).unwrap_err();
    assert!(reference.to_string().contains("map<string, u8>"), "{reference}");
    let twice = Val::Map(vec![(Val::String("a".into()), Val::U8(0)), (Val::String("a".into()), Val::U8(1))]);
    assert_eq!(write(&map, twice, LIMIT).unwrap(), json!({"a": 1}));
}

/// Found by fuzzing: `serde_json` is exact only with its feature `float_roundtrip`.
#[test]
fn numbers_are_exact_to_the_last_digit() {
    let val = Val::Float64(5.447_603_722_893_048_4e-270);
    let text = write(&Shape::F64, val.clone(), LIMIT).unwrap().to_string();
    assert_eq!(read(&Shape::F64, serde_json::from_str(&text).unwrap(), LIMIT).unwrap(), val);
}

/// Found by a property test: the smallest of all integers has no absolute value.
#[test]
fn a_number_beyond_all_integers_is_refused_and_no_panic() {
    for far in [-2.15e84, 2.15e84, f64::MIN, f64::MAX] {
        assert!(read(&Shape::Int(Int::S8), json!(far), LIMIT).is_err());
        assert!(read(&Shape::Int(Int::S64), json!(far), LIMIT).is_err());
    }
}

#[test]
fn a_type_is_shown_as_wit_writes_it() {
    let shape = Shape::Record(vec![
        ("a".into(), Shape::Option(Box::new(Shape::Bytes(Some(4))))),
        ("b".into(), Shape::Result(None, Some(Box::new(Shape::Enum(["x".to_owned()].into()))))),
        ("c".into(), Shape::Variant([("y".to_owned(), Some(Shape::Char)), ("z".to_owned(), None)].into())),
    ]);
    let text = "record { a: option<list<u8, 4>>, b: result<_, enum { x }>, c: variant { y(char), z } }";
    assert_eq!(shape.to_string(), text);
}
