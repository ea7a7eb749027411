//! Results that cost the host more than the guest.

use std::time::Duration;

use serde_json::json;

use crate::guest::{Fill, gives, named, names, nested_options, returns};
use crate::{Ask, Case, End};

const START: u32 = 1024;
const PAYLOAD: &str = "limits.payload_mb";

pub(crate) fn cases() -> Vec<Case> {
    let mut all = given();
    all.extend(plain());
    all.extend(pointers());
    all.extend(errors());
    all.extend(timed());
    all
}

fn case(name: &str, component: String, (memory_mb, payload_mb): (u64, u64), end: End) -> Case {
    Case { name: name.to_owned(), ask: Ask::Call, component, arguments: json!({}), memory_mb, payload_mb, end }
}

const DEFAULT: (u64, u64) = (256, 16);
const SMALL: (u64, u64) = (32, 4);

/// A list of `count` items of `size` bytes that are all `byte`.
fn list(types: &str, item: &str, size: u32, byte: u8, count: u32) -> String {
    gives(types, item, &[Fill::Bytes { at: START, byte, count: size * count }], START, count, "")
}

fn flags(count: usize) -> String {
    named("fl", &format!("(flags {})", names(count).iter().map(|name| format!("\"{name}\" ")).collect::<String>()))
}

/// The cases that first took gigabytes, or most of a minute.
fn given() -> Vec<Case> {
    vec![
        case("result flags of 32 names", list(&flags(32), "$fl", 4, 255, 1_000_000), DEFAULT, End::Refused(PAYLOAD)),
        case(
            "result records of one bool",
            list(&named("r", r#"(record (field "a" bool))"#), "$r", 1, 1, 2_000_000),
            DEFAULT,
            End::Refused(PAYLOAD),
        ),
        case(
            "result options in 44 options",
            list(&nested_options(44), "$t44", 46, 1, 150_000),
            DEFAULT,
            End::Refused(PAYLOAD),
        ),
    ]
}

/// Types without pointers: each with so many items that it must be refused, and with so few that it must not.
fn plain() -> Vec<Case> {
    let variant = named("v", r#"(variant (case "a" bool) (case "b" bool) (case "c"))"#);
    let wide = named(
        "r",
        &format!("(record {})", names(10).iter().map(|n| format!("(field \"{n}\" bool)")).collect::<String>()),
    );
    let fixed = |ty: &str, size: u32, byte: u8| (String::new(), ty.to_owned(), size, byte);
    let types = [
        ("bools", fixed("bool", 1, 1)),
        ("u8 in tuples", fixed("(tuple u8)", 1, 7)),
        ("s8", fixed("s8", 1, 255)),
        ("u16", fixed("u16", 2, 1)),
        ("u32", fixed("u32", 4, 0)),
        ("u64 as text", fixed("u64", 8, 255)),
        ("f32", fixed("f32", 4, 1)),
        ("f64", fixed("f64", 8, 1)),
        ("f64 that are no numbers", fixed("f64", 8, 255)),
        ("chars", fixed("char", 4, 0)),
        ("options", fixed("(option bool)", 2, 1)),
        ("options that are none", fixed("(option u64)", 16, 0)),
        ("results", fixed("(result bool)", 2, 0)),
        ("results of nothing", fixed("(result)", 1, 1)),
        ("tuples", fixed("(tuple bool bool bool)", 3, 1)),
        ("tuples of tuples", fixed("(tuple (tuple (tuple bool)))", 1, 1)),
        ("options of options", (nested_options(2), "$t2".to_owned(), 4, 1)),
        ("one flag", (flags(1), "$fl".to_owned(), 1, 1)),
        ("no flags", (flags(9), "$fl".to_owned(), 2, 0)),
        ("17 flags", (flags(17), "$fl".to_owned(), 4, 255)),
        ("variants", (variant.clone(), "$v".to_owned(), 2, 1)),
        ("variants that carry nothing", (variant, "$v".to_owned(), 2, 2)),
        ("enums", (named("e", r#"(enum "a" "b")"#), "$e".to_owned(), 1, 1)),
        ("records", (wide, "$r".to_owned(), 10, 1)),
    ];
    let mut cases = Vec::new();
    for (name, (types, item, size, byte)) in types {
        // Types of types are defined by name.
        let (types, item) = spelled(&types, &item);
        let many = list(&types, &item, size, byte, (20 << 20) / size.max(2));
        cases.push(case(&format!("result many {name}"), many, SMALL, End::Refused(PAYLOAD)));
        cases.push(case(&format!("result few {name}"), list(&types, &item, size, byte, 10_000), SMALL, End::Fits));
    }
    cases
}

/// Defines nested types in brackets, the innermost first.
fn spelled(types: &str, item: &str) -> (String, String) {
    let (mut types, mut item) = (types.to_owned(), item.to_owned());
    let mut count = 0;
    while let Some(open) = item.rfind('(') {
        let close = open + item[open..].find(')').unwrap();
        types += &format!("(type $x{count} {})", &item[open..=close]);
        item.replace_range(open..=close, &format!("$x{count}"));
        count += 1;
    }
    (types, item)
}

/// Types with pointers that all point to the same place: a little of the guest's memory becomes much of the host's.
fn pointers() -> Vec<Case> {
    let text = |count, len| {
        [Fill::Bytes { at: START, byte: b'x', count: len }, Fill::Pairs { at: 1 << 20, count, pointer: START, len }]
    };
    let lists = |item: &str, len: u32, count: u32| {
        let types = format!("(type $inner (list {item}))");
        let fills = [
            Fill::Bytes { at: START, byte: 1, count: 900_000 },
            Fill::Pairs { at: 1 << 20, count, pointer: START, len },
        ];
        gives(&types, "$inner", &fills, 1 << 20, count, "")
    };
    let tree = {
        let types = "(type $a (list bool)) (type $b (list $a)) (type $c (list $b)) (type $d (list $c))";
        let level = |n: u32, pointer| Fill::Pairs { at: n << 20, count: 1000, pointer, len: 1000 };
        let fills = [
            Fill::Bytes { at: START, byte: 1, count: 1000 },
            level(1, START),
            level(2, 1 << 20),
            level(3, 2 << 20),
            level(4, 3 << 20),
        ];
        gives(types, "$d", &fills, 4 << 20, 1000, "")
    };
    let map = |ty: &str, key: &str| {
        let fills = [
            Fill::Bytes { at: START, byte: b'x', count: 1000 },
            Fill::Pairs { at: 1 << 20, count: 1_000_000, pointer: START, len: 5 },
        ];
        let result = format!("(type $result (map {key} {ty}))");
        returns("", &result, &fills, &[1 << 20, 500_000], "")
    };
    let strings = |count, len, options| gives("", "string", &text(count, len), 1 << 20, count, options);
    vec![
        case("result strings of a kilobyte", strings(30_000, 1024, ""), SMALL, End::Refused(PAYLOAD)),
        case("result strings of a character", strings(1_000_000, 1, ""), SMALL, End::Refused(PAYLOAD)),
        case("result strings of nothing", strings(3_000_000, 0, ""), SMALL, End::Refused(PAYLOAD)),
        case("result few strings", strings(10_000, 10, ""), SMALL, End::Fits),
        case("result strings in utf-16", strings(10_000, 500, "string-encoding=utf16"), SMALL, End::Refused(PAYLOAD)),
        case(
            "result strings in latin-1",
            strings(10_000, 500, "string-encoding=latin1+utf16"),
            SMALL,
            End::Refused(PAYLOAD),
        ),
        case("result one string", gives("", "string", &text(1, 900_000), 1 << 20, 1, ""), SMALL, End::Fits),
        case("result lists of one", lists("bool", 1, 2_000_000), SMALL, End::Refused(PAYLOAD)),
        case("result lists of nothing", lists("bool", 0, 3_000_000), SMALL, End::Refused(PAYLOAD)),
        case("result lists of many", lists("bool", 900_000, 1000), SMALL, End::Refused(PAYLOAD)),
        case("result bytes", lists("u8", 8, 2_000_000), SMALL, End::Refused(PAYLOAD)),
        case("result many blobs", lists("u8", 20_000, 20_000), SMALL, End::Refused(PAYLOAD)),
        case("result large blobs", lists("u8", 900_000, 100), SMALL, End::Refused(PAYLOAD)),
        case("result one blob", list("", "u8", 1, 1, 25 << 20), SMALL, End::Fits),
        case("result lists in lists in lists", tree, SMALL, End::Refused(PAYLOAD)),
        case("result a map", map("bool", "u32"), SMALL, End::Refused(PAYLOAD)),
    ]
}

/// Values that are only shown in an error.
fn errors() -> Vec<Case> {
    let types = "(type $list (list string))";
    let fills = [
        Fill::Bytes { at: START, byte: b'x', count: 1000 },
        Fill::Pairs { at: 1 << 20, count: 2_000_000, pointer: START, len: 1000 },
    ];
    let list = returns(types, "(type $result (result (error $list)))", &fills, &[1, 1 << 20, 2_000_000], "");
    let fills = [Fill::Bytes { at: START, byte: b'x', count: 20 << 20 }];
    let text = returns("", "(type $result (result (error string)))", &fills, &[1, START, 20 << 20], "");
    vec![
        case("result an error of many strings", list, SMALL, End::Failed),
        case("result an error of a long string", text, SMALL, End::Failed),
    ]
}

/// Work that would take longer than it may.
fn timed() -> Vec<Case> {
    let (soon, large) = (Duration::from_millis(30), (1024, 256));
    let bools = || list("", "bool", 1, 1, 12_000_000);
    let strings = || {
        let fills = [
            Fill::Bytes { at: START, byte: b'x', count: 1000 },
            Fill::Pairs { at: 1 << 20, count: 8_000_000, pointer: START, len: 8 },
        ];
        gives("", "string", &fills, 1 << 20, 8_000_000, "")
    };
    let records = || list(&named("r", r#"(record (field "a" bool))"#), "$r", 1, 1, 4_000_000);
    vec![
        case("in time bools", bools(), large, End::Late(soon)),
        case("in time bools that are cancelled", bools(), large, End::Cancelled(soon)),
        case("in time strings", strings(), large, End::Late(soon)),
        case("in time records", records(), large, End::Late(soon)),
        case("in time records that are cancelled", records(), large, End::Cancelled(soon)),
    ]
}
