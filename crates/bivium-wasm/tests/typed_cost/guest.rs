//! Components that return or take values of a type.

use std::fmt::Write as _;

/// The content of a guest's memory before it returns.
pub(crate) enum Fill {
    /// The same byte many times.
    Bytes { at: u32, byte: u8, count: u32 },
    /// The same pointer and length many times.
    Pairs { at: u32, count: u32, pointer: u32, len: u32 },
}

/// A component whose function returns a list of `len` items of this type that begin at `at`. `types` are defined before.
pub(crate) fn gives(types: &str, item: &str, fills: &[Fill], at: u32, len: u32, options: &str) -> String {
    returns(types, &format!("(type $result (list {item}))"), fills, &[at, len], options)
}

/// A component whose function returns a value of the type `$result`, which begins with these words.
pub(crate) fn returns(types: &str, result: &str, fills: &[Fill], words: &[u32], options: &str) -> String {
    let mut code = String::new();
    let mut end = 1024;
    for fill in fills {
        match fill {
            Fill::Bytes { at, byte, count } => {
                write!(code, "(memory.fill (i32.const {at}) (i32.const {byte}) (i32.const {count}))").unwrap();
                end = end.max(at + count);
            }
            Fill::Pairs { at, count, pointer, len } => {
                let last = at + 8 * count;
                write!(
                    code,
                    "(local.set 0 (i32.const {at}))
                     (loop $next
                        (i32.store (local.get 0) (i32.const {pointer}))
                        (i32.store offset=4 (local.get 0) (i32.const {len}))
                        (br_if $next (i32.lt_u (local.tee 0 (i32.add (local.get 0) (i32.const 8))) (i32.const {last}))))"
                )
                .unwrap();
                end = end.max(last);
            }
        }
    }
    for (n, word) in words.iter().enumerate() {
        write!(code, "(i32.store (i32.const {}) (i32.const {word}))", 16 + 4 * n).unwrap();
    }
    format!(
        r#"(component
        (core module $m (memory (export "mem") {pages})
            (func (export "f") (result i32) (local i32) {code} (i32.const 16)))
        (core instance $i (instantiate $m))
        {types}
        {result}
        (type $ft (func (result $result)))
        (func $f (type $ft) (canon lift (core func $i "f") (memory (core memory $i "mem")) {options}))
        (export "f" (func $f)))"#,
        pages = end.div_ceil(65536),
    )
}

/// A component whose function takes a list `l` of items of this type and returns their number. Its memory grows.
pub(crate) fn takes(types: &str, item: &str) -> String {
    format!(
        r#"(component
        (core module $m (memory (export "mem") 1)
            (global $next (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (block $enough (loop $more
                    (br_if $enough (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
                    (if (i32.eq (memory.grow
                            (i32.add (i32.shr_u (i32.sub (global.get $next) (i32.mul (memory.size) (i32.const 65536)))
                                (i32.const 16)) (i32.const 1))) (i32.const -1))
                        (then unreachable))
                    (br $more)))
                (local.get $at))
            (func (export "f") (param i32 i32) (result i32) (local.get 1)))
        (core instance $i (instantiate $m))
        {types}
        (type $list (list {item}))
        (type $ft (func (param "l" $list) (result u32)))
        (func $f (type $ft)
            (canon lift (core func $i "f") (memory (core memory $i "mem")) (realloc (core func $i "realloc"))))
        (export "f" (func $f)))"#
    )
}

/// Defines a type and exports it under its name, which is then `$NAME`.
pub(crate) fn named(name: &str, ty: &str) -> String {
    format!(r#"(type $a-{name} {ty}) (export ${name} "{name}" (type $a-{name}))"#)
}

/// This many names.
pub(crate) fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("n{n}")).collect()
}

/// Nested options of this depth: `$t0` is an option of a bool.
pub(crate) fn nested_options(depth: usize) -> String {
    let mut types = "(type $t0 (option bool))".to_owned();
    for n in 1..=depth {
        write!(types, "(type $t{n} (option $t{}))", n - 1).unwrap();
    }
    types
}
