//! The engine's own values and the values of this crate give the same content of a guest's memory.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bivium_interface::{Call, PluginInterface};
use bivium_wasm::fuzzing::{Int, Part, Shape};
use proptest::prelude::*;
use serde_json::{Value, json};
use wasmtime::component::{Component, Linker, Val};
use wasmtime::{Config, Engine, Store};

use crate::common;
use crate::types::{parts, values};

/// The text of a component for a type, with these functions: `dump` returns all of its memory, with the numbers of its call at 64;
/// `same` returns the list that it gets; `one` returns its argument, if that is one number.
struct Guest {
    types: String,
    count: usize,
}

impl Guest {
    fn of(part: &Part) -> String {
        let mut guest = Self { types: String::new(), count: 0 };
        let ty = guest.ty(part);
        let flat = numbers(part);
        let params = if flat.len() > 16 { vec!["i32"] } else { flat.clone() };
        let mut stores = String::new();
        for (n, number) in params.iter().enumerate() {
            let wide = match *number {
                "i32" => "i64.extend_i32_u",
                "f32" => "i64.extend_i32_u (i32.reinterpret_f32",
                "f64" => "i64.reinterpret_f64",
                _ => "i64.or (i64.const 0)",
            };
            let close = if *number == "f32" { ")" } else { "" };
            write!(stores, "(i64.store (i32.const {}) ({wide} (local.get {n}){close}))", 64 + 8 * n).unwrap();
        }
        let (one_core, one) = if let [number] = flat[..] {
            (
                format!(r#"(func (export "one") (param {number}) (result {number}) (local.get 0))"#),
                format!(
                    r#"(func (export "one") (param "v" {ty}) (result {ty}) (canon lift (core func $i "one") {OPTIONS}))"#
                ),
            )
        } else {
            (String::new(), String::new())
        };
        format!(
            r#"(component
            (core module $m
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 256))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                    (global.get $next)
                    (global.set $next (i32.add (global.get $next) (local.get 3)))
                    (if (i32.gt_u (global.get $next) (i32.const 65536)) (then unreachable)))
                (func (export "dump") (param {params}) (result i32)
                    {stores}
                    (i32.store (i32.const 8) (i32.const 64))
                    (i32.store (i32.const 12) (i32.sub (global.get $next) (i32.const 64)))
                    (i32.const 8))
                (func (export "same") (param i32 i32) (result i32)
                    (i32.store (i32.const 8) (local.get 0))
                    (i32.store (i32.const 12) (local.get 1))
                    (i32.const 8))
                {one_core})
            (core instance $i (instantiate $m))
            {types}
            (type $list (list {ty}))
            (func (export "dump") (param "v" {ty}) (result (list u8)) (canon lift (core func $i "dump") {OPTIONS}))
            (func (export "same") (param "v" $list) (result $list) (canon lift (core func $i "same") {OPTIONS}))
            {one})"#,
            params = params.join(" "),
            types = guest.types,
        )
    }

    /// The name of a type, after it was defined.
    fn ty(&mut self, part: &Part) -> String {
        let (ty, is_named) = match &**part {
            Shape::Bool => return "bool".into(),
            Shape::Int(int) => return int.range().0.into(),
            Shape::F32 => return "f32".into(),
            Shape::F64 => return "f64".into(),
            Shape::Char => return "char".into(),
            Shape::String => return "string".into(),
            Shape::Bytes(_) => ("(list u8)".to_owned(), false),
            Shape::List(item, _) => (format!("(list {})", self.ty(item)), false),
            Shape::Map(key, value) => (format!("(map {} {})", self.ty(key), self.ty(value)), false),
            Shape::Tuple(parts) => {
                (format!("(tuple {})", parts.iter().map(|part| self.ty(part)).collect::<Vec<_>>().join(" ")), false)
            }
            Shape::Record(fields) => {
                let fields = fields.iter().map(|(name, part)| format!(r#"(field "{name}" {})"#, self.ty(part)));
                (format!("(record {})", fields.collect::<String>()), true)
            }
            Shape::Variant(cases) => {
                let cases = cases.iter().map(|(name, part)| {
                    let carried = part.as_ref().map(|part| self.ty(part)).unwrap_or_default();
                    format!(r#"(case "{name}" {carried})"#)
                });
                (format!("(variant {})", cases.collect::<String>()), true)
            }
            Shape::Enum(names) => (format!("(enum {})", quoted(names)), true),
            Shape::Flags(names) => (format!("(flags {})", quoted(names)), true),
            Shape::Option(some) => (format!("(option {})", self.ty(some)), false),
            Shape::Result(ok, err) => {
                let ok = ok.as_ref().map(|ok| self.ty(ok)).unwrap_or_default();
                let err = err.as_ref().map(|err| format!("(error {})", self.ty(err))).unwrap_or_default();
                (format!("(result {ok} {err})"), false)
            }
        };
        self.count += 1;
        let n = self.count;
        writeln!(self.types, "(type $t{n} {ty})").unwrap();
        if !is_named {
            return format!("$t{n}");
        }
        writeln!(self.types, r#"(export $e{n} "t{n}" (type $t{n}))"#).unwrap();
        format!("$e{n}")
    }
}

const OPTIONS: &str = r#"(memory (core memory $i "memory")) (realloc (core func $i "realloc"))"#;

fn quoted<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("\"{name}\" ")).collect()
}

/// The core types of the numbers that stand for a value.
fn numbers(part: &Part) -> Vec<&'static str> {
    let all = |parts: &mut dyn Iterator<Item = &Part>| parts.flat_map(numbers).collect::<Vec<_>>();
    let one_of = |cases: &mut dyn Iterator<Item = &Part>| {
        let mut joined: Vec<&'static str> = Vec::new();
        for case in cases.map(numbers) {
            for (n, number) in case.into_iter().enumerate() {
                match joined.get_mut(n) {
                    None => joined.push(number),
                    Some(known) if *known == number => {}
                    Some(known) if matches!((*known, number), ("i32", "f32") | ("f32", "i32")) => *known = "i32",
                    Some(known) => *known = "i64",
                }
            }
        }
        joined.insert(0, "i32");
        joined
    };
    match &**part {
        Shape::Int(Int::S64 | Int::U64) => vec!["i64"],
        Shape::F32 => vec!["f32"],
        Shape::F64 => vec!["f64"],
        Shape::String | Shape::Bytes(None) | Shape::List(_, None) | Shape::Map(..) => vec!["i32"; 2],
        Shape::Bytes(Some(len)) => vec!["i32"; *len as usize],
        Shape::List(item, Some(len)) => all(&mut (0..*len).map(|_| &**item)),
        Shape::Tuple(parts) => all(&mut parts.iter()),
        Shape::Record(fields) => all(&mut fields.iter().map(|(_, part)| part)),
        Shape::Variant(cases) => one_of(&mut cases.values().flatten()),
        Shape::Option(some) => one_of(&mut std::iter::once(&**some)),
        Shape::Result(ok, err) => one_of(&mut ok.iter().chain(err).map(|part| &**part)),
        Shape::Bool | Shape::Int(_) | Shape::Char | Shape::Enum(_) | Shape::Flags(_) => vec!["i32"],
    }
}

/// The engine's own value.
fn val(part: &Part, json: &Value) -> Val {
    let number = |json: &Value| json.as_i64().map_or_else(|| json.as_str().unwrap().parse().unwrap(), i128::from);
    let float = |json: &Value| match json.as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some(_) => f64::NEG_INFINITY,
        None => json.as_f64().unwrap(),
    };
    let text = |json: &Value| json.as_str().unwrap().to_owned();
    let items = |item: &Part, json: &Value| json.as_array().unwrap().iter().map(|json| val(item, json)).collect();
    let carried = |part: &Option<Box<Part>>, json: &Value| part.as_ref().map(|part| Box::new(val(part, json)));
    match &**part {
        Shape::Bool => Val::Bool(json.as_bool().unwrap()),
        Shape::Int(Int::S8) => Val::S8(number(json).try_into().unwrap()),
        Shape::Int(Int::U8) => Val::U8(number(json).try_into().unwrap()),
        Shape::Int(Int::S16) => Val::S16(number(json).try_into().unwrap()),
        Shape::Int(Int::U16) => Val::U16(number(json).try_into().unwrap()),
        Shape::Int(Int::S32) => Val::S32(number(json).try_into().unwrap()),
        Shape::Int(Int::U32) => Val::U32(number(json).try_into().unwrap()),
        Shape::Int(Int::S64) => Val::S64(number(json).try_into().unwrap()),
        Shape::Int(Int::U64) => Val::U64(number(json).try_into().unwrap()),
        #[allow(clippy::cast_possible_truncation, reason = "it is one")]
        Shape::F32 => Val::Float32(float(json) as f32),
        Shape::F64 => Val::Float64(float(json)),
        Shape::Char => Val::Char(text(json).chars().next().unwrap()),
        Shape::String => Val::String(text(json)),
        Shape::Bytes(_) => Val::List(STANDARD.decode(text(json)).unwrap().into_iter().map(Val::U8).collect()),
        Shape::List(item, _) => Val::List(items(item, json)),
        Shape::Map(key, value) => Val::Map(match json {
            Value::Object(object) => object
                .iter()
                .map(|(name, item)| (Val::String(bivium_interface::unescape_key(name.clone())), val(value, item)))
                .collect(),
            pairs => {
                let pairs = pairs.as_array().unwrap().iter();
                pairs.map(|pair| (val(key, &pair[0]), val(value, &pair[1]))).collect()
            }
        }),
        Shape::Tuple(parts) => {
            Val::Tuple(parts.iter().zip(json.as_array().unwrap()).map(|(part, json)| val(part, json)).collect())
        }
        Shape::Record(fields) => {
            Val::Record(fields.iter().map(|(name, part)| (name.clone(), val(part, &json[name]))).collect())
        }
        Shape::Variant(cases) => match json.as_str() {
            Some(name) => Val::Variant(name.to_owned(), None),
            None => {
                let (name, json) = json.as_object().unwrap().iter().next().unwrap();
                Val::Variant(name.clone(), cases[name].as_ref().map(|part| Box::new(val(part, json))))
            }
        },
        Shape::Enum(_) => Val::Enum(text(json)),
        Shape::Option(_) if json.is_null() => Val::Option(None),
        Shape::Option(some) => {
            let json = if some.may_be_null() { &json["some"] } else { json };
            Val::Option(Some(Box::new(val(some, json))))
        }
        Shape::Result(ok, err) => Val::Result(if json.get("ok").is_some() {
            Ok(carried(ok, &json["ok"]))
        } else {
            Err(carried(err, &json["err"]))
        }),
        Shape::Flags(_) => Val::Flags(json.as_array().unwrap().iter().map(text).collect()),
    }
}

/// What the engine alone returns for a call of `dump`.
fn dumped(component: &[u8], value: Val) -> Vec<u8> {
    let engine = Engine::new(Config::new().wasm_component_model_map(true)).unwrap();
    let mut store = Store::new(&engine, ());
    let component = Component::from_binary(&engine, component).unwrap();
    let instance = Linker::new(&engine).instantiate(&mut store, &component).unwrap();
    let dump = instance.get_func(&mut store, "dump").unwrap();
    let mut results = [Val::Bool(false)];
    dump.call(&mut store, &[value], &mut results).unwrap();
    let [Val::List(bytes)] = results else { panic!("{results:?}") };
    bytes.into_iter().map(|byte| if let Val::U8(byte) = byte { byte } else { panic!("{byte:?}") }).collect()
}

/// The engine of the tests is built without lists of fixed length, as the host's is.
fn is_known(part: &Part) -> bool {
    match &**part {
        Shape::Bytes(len) => len.is_none(),
        Shape::List(item, len) => len.is_none() && is_known(item),
        Shape::Map(key, value) => is_known(key) && is_known(value),
        Shape::Tuple(parts) => parts.iter().all(is_known),
        Shape::Record(fields) => fields.iter().all(|(_, part)| is_known(part)),
        Shape::Variant(cases) => cases.values().flatten().all(is_known),
        Shape::Option(some) => is_known(some),
        Shape::Result(ok, err) => ok.iter().chain(err).all(|part| is_known(part)),
        _ => true,
    }
}

async fn crosses(part: &Part, json: &Value) {
    let component = wat::parse_str(Guest::of(part)).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.wasm");
    std::fs::write(&path, &component).unwrap();
    let loaded = common::try_load(common::engine(), &path, json!({"isolation": "call"})).await.unwrap();
    let plugin: &dyn PluginInterface = &loaded.plugin;
    let call = async |name: &'static str, argument: Value| {
        let result = plugin.execute(Call::new().method(name).named("v", argument)).await;
        result.unwrap_or_else(|error| panic!("{part}: {json}: {error}"))
    };
    let dump = call("dump", json.clone()).await;
    let bytes = match dump.blob(&dump.json) {
        Some(blob) => std::fs::read(blob.path()).unwrap(),
        None => STANDARD.decode(dump.json.as_str().unwrap()).unwrap(),
    };
    assert_eq!(bytes, dumped(&component, val(part, json)), "{part}: {json}");
    let list = json!([json, json, json]);
    // Bytes come back as base64.
    let back = match &**part {
        Shape::Int(Int::U8) => json!(STANDARD.encode([u8::try_from(json.as_u64().unwrap()).unwrap(); 3])),
        _ => list.clone(),
    };
    assert_eq!(call("same", list).await.json, back, "{part}");
    // An `err` would be the error of the call.
    if numbers(part).len() == 1 && !matches!(**part, Shape::Result(..)) {
        assert_eq!(call("one", json.clone()).await.json, *json, "{part}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn values_cross_as_the_engines_own(
        (part, json) in parts()
            .prop_filter("a list of fixed length", is_known)
            .prop_flat_map(|part| (Just(part.clone()), values(&part)))
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(crosses(&part, &json));
    }
}
