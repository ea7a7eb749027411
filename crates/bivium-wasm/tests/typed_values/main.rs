//! JSON and component values of any type: what is written is read back unchanged, takes no more memory than is counted for it, and is
//! passed as the engine itself would do it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;
mod counted;
mod crossing;
mod types;

use bivium_wasm::fuzzing::{Int, Part, Shape, read, schema, write};
use proptest::prelude::*;
use serde_json::{Value, json};
use types::{any_json, parts, values};

const LIMIT: usize = 64 << 20;

/// Converts JSON to a value and back.
fn back(part: &Part, json: Value) -> Option<Value> {
    let (memory, at) = read(part, json, LIMIT).ok()?.memory();
    Some(write(part, &memory, at, LIMIT).expect("what was read can be written").json)
}

proptest! {
    #[test]
    fn a_value_survives_being_read_and_written_and_fits_its_schema(
        (part, json) in parts().prop_flat_map(|part| (Just(part.clone()), values(&part)))
    ) {
        let text = json.to_string();
        let parsed: Value = serde_json::from_str(&text).unwrap();
        let again = back(&part, parsed);
        prop_assert_eq!(again.as_ref(), Some(&json), "{} as {}", part, text);
        // A schema leaves out the error of the outermost result, and none of the types is one here.
        let wrapped = Part::new(Shape::Tuple(vec![part]));
        let validator = jsonschema::draft202012::new(&schema(&wrapped)).unwrap();
        prop_assert!(validator.is_valid(&json!([json])), "{} is not valid for {}", json, wrapped);
    }

    #[test]
    fn whatever_is_read_is_written_and_read_again_the_same(part in parts(), json in any_json()) {
        if let Some(json) = back(&part, json) {
            prop_assert_eq!(back(&part, json.clone()), Some(json));
        }
    }

    #[test]
    fn whatever_lies_in_a_memory_is_a_value_or_nothing(
        part in parts(), memory in prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..200), at in 0_usize..64
    ) {
        if let Some(written) = write(&part, &memory, at, LIMIT) {
            prop_assert_eq!(back(&part, written.json.clone()), Some(written.json));
        }
    }
}

#[test]
fn what_values_take_up_is_bounded_both_ways() {
    let list = Part::new(Shape::List(Box::new(Shape::Bool.into()), None));
    let json = Value::from(vec![true; 1000]);
    assert!(read(&list, json.clone(), 1000).is_err());
    let (memory, at) = read(&list, json.clone(), 2000).unwrap().memory();
    assert!(write(&list, &memory, at, 2001).is_none());
    assert!(write(&list, &memory, at, 1000 * size_of::<Value>()).is_none(), "an array is more than its items");
    assert_eq!(write(&list, &memory, at, 1001 * size_of::<Value>()).unwrap().json, json);
    let bytes = Value::from("A".repeat(64 << 10));
    assert!(read(&Part::new(Shape::Bytes(None)), bytes, 48 << 10).is_err());
}

#[test]
fn what_is_left_out_counts_too_and_before_anything_is_made() {
    let fields = (0..1000).map(|n| (format!("f{n}"), Shape::Option(Box::new(Shape::Bool.into())).into()));
    let list = Part::new(Shape::List(Box::new(Shape::Record(fields.collect()).into()), None));
    let json = Value::from(vec![json!({}); 1000]);
    assert!(read(&list, json.clone(), 2_000_000).is_err(), "two bytes for each of a thousand options in a thousand");
    let laid = read(&list, json, 2_100_000).unwrap();
    assert!((2_000_000..2_100_000).contains(&laid.counted));
    assert!(laid.memory().0.len() >= 2_000_000);
}

#[test]
fn keys_of_a_map_that_look_like_blobs_are_escaped() {
    let map = Part::new(Shape::Map(Box::new(Shape::String.into()), Box::new(Shape::Int(Int::U8).into())));
    let json = json!({"$$blob": 0, "$$$blob": 1});
    assert_eq!(back(&map, json.clone()).unwrap(), json);
    let (memory, _) = read(&map, json, LIMIT).unwrap().memory();
    assert!(
        memory.windows(5).any(|window| window == b"$blob") && !memory.windows(7).any(|window| window == b"$$$blob")
    );
    let reference = read(&map, json!({"$blob": 0}), LIMIT).err().unwrap();
    assert!(reference.to_string().contains("map<string, u8>"), "{reference}");
}

#[test]
fn of_entries_with_the_same_key_the_last_one_counts() {
    let map = Part::new(Shape::Map(Box::new(Shape::String.into()), Box::new(Shape::Int(Int::U8).into())));
    let (mut memory, at) = read(&map, json!({"a": 0, "b": 1}), LIMIT).unwrap().memory();
    let b = memory.iter().position(|byte| *byte == b'b').unwrap();
    memory[b] = b'a';
    assert_eq!(write(&map, &memory, at, LIMIT).unwrap().json, json!({"a": 1}));
}

/// Found by fuzzing: `serde_json` is exact only with its feature `float_roundtrip`.
#[test]
fn numbers_are_exact_to_the_last_digit() {
    let json = json!(5.447_603_722_893_048_4e-270);
    assert_eq!(back(&Shape::F64.into(), json.clone()).unwrap(), json);
}

/// Found by a property test: the smallest integer has no absolute value.
#[test]
fn a_number_beyond_all_integers_is_refused_and_no_panic() {
    for far in [-2.15e84, 2.15e84, f64::MIN, f64::MAX] {
        assert!(read(&Shape::Int(Int::S8).into(), json!(far), LIMIT).is_err());
        assert!(read(&Shape::Int(Int::S64).into(), json!(far), LIMIT).is_err());
    }
}

#[test]
fn a_type_is_shown_as_wit_writes_it() {
    let enumeration = Shape::Enum(["x".to_owned()].into());
    let part = Part::new(Shape::Record(vec![
        ("a".into(), Shape::Option(Box::new(Shape::Bytes(Some(4)).into())).into()),
        ("b".into(), Shape::Result(None, Some(Box::new(enumeration.into()))).into()),
        (
            "c".into(),
            Shape::Variant([("y".to_owned(), Some(Shape::Char.into())), ("z".to_owned(), None)].into()).into(),
        ),
    ]));
    let text = "record { a: option<list<u8, 4>>, b: result<_, enum { x }>, c: variant { y(char), z } }";
    assert_eq!(part.to_string(), text);
}
