//! Arguments that cost the host more than their JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::guest::{named, names, nested_options, takes};
use crate::{Ask, Case, End};

const MEMORY: &str = "limits.memory_mb";

fn case(name: &str, component: String, list: Vec<Value>, (memory_mb, payload_mb): (u64, u64), end: End) -> Case {
    Case { name: name.to_owned(), ask: Ask::Call, component, arguments: json!({"l": list}), memory_mb, payload_mb, end }
}

const DEFAULT: (u64, u64) = (256, 16);
const SMALL: (u64, u64) = (32, 4);

/// Records of this many options.
fn records(options: usize) -> String {
    let fields: String = names(options).iter().map(|name| format!("(field \"{name}\" $o)")).collect();
    let types = format!("(type $o (option bool)) {}", named("r", &format!("(record {fields})")));
    takes(&types, "$r")
}

pub(crate) fn cases() -> Vec<Case> {
    let many = |json: Value, count: usize| vec![json; count];
    let soon = Duration::from_millis(30);
    let variant = named("v", r#"(variant (case "a" bool) (case "b"))"#);
    let pairs = "(type $p (tuple string string))";
    let lists = "(type $i (list string))";
    let cases = vec![
        // Its memory never grows, whatever its allocator is asked for.
        case("argument records that do not fit", stuck(4000), many(json!({}), 10_000), DEFAULT, End::Refused(MEMORY)),
        case("argument many records of options", records(4000), many(json!({}), 40_000), DEFAULT, End::Refused(MEMORY)),
        case("argument more records of options", records(4000), many(json!({}), 30_000), SMALL, End::Refused(MEMORY)),
        case("argument few records of options", records(400), many(json!({}), 10_000), SMALL, End::Fits),
        case("argument strings", takes("", "string"), many(json!("x"), 500_000), SMALL, End::Refused(MEMORY)),
        case("argument few strings", takes("", "string"), many(json!("x"), 50_000), SMALL, End::Fits),
        case("argument lists of nothing", takes(lists, "$i"), many(json!([]), 1_000_000), SMALL, End::Refused(MEMORY)),
        case("argument few lists of nothing", takes(lists, "$i"), many(json!([]), 100_000), SMALL, End::Fits),
        case("argument pairs", takes(pairs, "$p"), many(json!(["", ""]), 300_000), SMALL, End::Refused(MEMORY)),
        case("argument bytes as numbers", takes("", "u8"), many(json!(1), 1_500_000), SMALL, End::Fits),
        case("argument numbers", takes("", "u64"), many(json!(1), 1_500_000), SMALL, End::Fits),
        case("argument variants", takes(&variant, "$v"), many(json!("b"), 700_000), SMALL, End::Fits),
        case(
            "argument flags",
            takes(&named("fl", r#"(flags "a" "b")"#), "$fl"),
            many(json!([]), 1_000_000),
            SMALL,
            End::Fits,
        ),
        case("argument nulls", takes(&nested_options(44), "$t44"), many(json!(null), 600_000), SMALL, End::Fits),
        case("in time arguments", records(4000), many(json!({}), 150_000), (2048, 16), End::Late(soon)),
        case(
            "in time arguments that are cancelled",
            records(4000),
            many(json!({}), 150_000),
            (2048, 16),
            End::Cancelled(soon),
        ),
        case("in time many numbers", takes("", "u64"), many(json!(1), 6_000_000), (1024, 64), End::Late(soon)),
    ];
    cases
}

/// A component whose allocator returns any address.
fn stuck(options: usize) -> String {
    records(options).replace("(local $at i32)", "(local $at i32) (return (i32.const 1024))")
}
