//! Features of WebAssembly that this host does not run.

/// A feature that is disabled.
pub(super) struct DisabledFeature {
    /// Words in the engine's message about it.
    words: &'static [&'static str],
    /// Completes "the component uses …".
    pub(super) name: &'static str,
    pub(super) cure: &'static str,
}

/// The first match counts. `every_row_is_what_the_engine_says` checks each row against the engine.
const DISABLED: &[DisabledFeature] = &[
    DisabledFeature {
        words: &["component model async", "component model more async builtins"],
        name: "asynchronous functions, streams or futures of components (WASI 0.3)",
        cure: "build it for WASI 0.2 with synchronous functions (in componentize-qjs use its option `--sync`)",
    },
    DisabledFeature {
        words: &["component model threading"],
        name: "threads of components",
        cure: "build it without threads (no target `…-threads`, no `-pthread`)",
    },
    DisabledFeature {
        words: &["threads must be enabled", "threads support is not enabled", "shared-everything-threads"],
        name: "threads and shared memory",
        cure: "build it without threads (no target `…-threads`, no `-pthread`, no `--shared-memory`)",
    },
    DisabledFeature {
        words: &["error-context"],
        name: "error contexts of components",
        cure: "build it for WASI 0.2, where errors are values of `result`",
    },
    DisabledFeature {
        words: &["component model gc", "`cm-gc`"],
        name: "garbage-collected values between components (the option `gc`)",
        cure: "build it with its values in linear memory; within a module the garbage collector is on",
    },
    DisabledFeature {
        words: &["component model 64-bit", "`cm64`"],
        name: "memories of 64 bits between components",
        cure: "build it for `wasm32`",
    },
    DisabledFeature {
        words: &["fixed-length lists"],
        name: "lists of a fixed length (`list<T, N>`)",
        cure: "use `list<T>` or a tuple in its WIT",
    },
    DisabledFeature {
        words: &["component model `value`s"],
        name: "values of components (`value` imports and exports)",
        cure: "export functions that give the values",
    },
    DisabledFeature {
        words: &["stack switching", "continuation refs"],
        name: "stack switching",
        cure: "build it without continuations (no `-wasmfx`, no option for stack switching)",
    },
    DisabledFeature {
        words: &["legacy exceptions", "legacy_exceptions"],
        name: "the exceptions from before WebAssembly 3.0",
        cure: "build it with `-mllvm -wasm-use-legacy-eh=false`, or convert it with `wasm-opt --translate-to-exnref`",
    },
    DisabledFeature {
        words: &["custom page sizes"],
        name: "memories with pages of another size",
        cure: "build it with pages of 64 KiB (no `--page-size`)",
    },
    DisabledFeature {
        words: &["wide arithmetic"],
        name: "wide arithmetic",
        cure: "build it without wide arithmetic (no `-mwide-arithmetic`, no `-Ctarget-feature=+wide-arithmetic`)",
    },
    DisabledFeature { words: &["memory control"], name: "memory control", cure: "build it without `memory.discard`" },
    DisabledFeature {
        words: &["custom descriptors"],
        name: "custom descriptors of types",
        cure: "build it without them; the garbage collector without descriptors is on",
    },
];

/// The disabled feature that the engine's message is about.
pub(super) fn find(reason: &str) -> Option<&'static DisabledFeature> {
    DISABLED.iter().find(|feature| feature.words.iter().any(|words| reason.contains(words)))
}

#[cfg(test)]
mod tests {
    use super::super::malformed;
    use bivium_interface::ErrorCode;

    use super::*;

    /// One component for each feature.
    const USES: &[(&str, &str)] = &[
        (
            "asynchronous functions",
            r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                (func (export "f") async (canon lift (core func $i "f"))))"#,
        ),
        (
            "asynchronous functions",
            r#"(component (core module $m (func (export "f") (result i32) unreachable)
                    (func (export "callback") (param i32 i32 i32) (result i32) unreachable))
                (core instance $i (instantiate $m))
                (func (export "f") (canon lift (core func $i "f") async (callback (core func $i "callback")))))"#,
        ),
        ("asynchronous functions", "(component (core func (canon task.return)))"),
        ("asynchronous functions", "(component (core func (canon waitable-set.new)))"),
        ("asynchronous functions", "(component (type (stream u8)))"),
        ("asynchronous functions", "(component (type (future u8)))"),
        ("threads of components", "(component (core func (canon thread.index)))"),
        ("threads and shared memory", "(component (core module (memory 1 2 shared)))"),
        ("threads and shared memory", "(component (core module (func (atomic.fence))))"),
        ("threads and shared memory", "(component (core module (table shared 0 (ref null (shared func)))))"),
        ("error contexts", "(component (type error-context))"),
        (
            "garbage-collected values",
            r#"(component (core module $m (func (export "f"))) (core instance $i (instantiate $m))
                (core type $t (func)) (func (canon lift (core func $i "f") gc)))"#,
        ),
        (
            "memories of 64 bits",
            r#"(component
                (core module $m (memory (export "memory") i64 1) (func (export "f") (result i64) unreachable))
                (core instance $i (instantiate $m))
                (func (result string) (canon lift (core func $i "f") (memory (core memory $i "memory")))))"#,
        ),
        ("lists of a fixed length", "(component (type (list u8 4)))"),
        ("values of components", r#"(component (import "v" (value u8)))"#),
        ("stack switching", "(component (core module (type $f (func)) (type (cont $f))))"),
        ("stack switching", "(component (core module (func (drop (ref.null cont)))))"),
        ("exceptions from before", "(component (core module (func try catch_all end)))"),
        ("pages of another size", "(component (core module (memory 1 (pagesize 1))))"),
        (
            "wide arithmetic",
            "(component (core module (func (param i64 i64 i64 i64) (result i64 i64)
                (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))))",
        ),
        ("memory control", "(component (core module (memory 1) (func (memory.discard (i32.const 0) (i32.const 0)))))"),
        (
            "custom descriptors",
            "(component (core module (rec
                (type $a (descriptor $b) (struct)) (type $b (describes $a) (struct)))))",
        ),
    ];

    #[test]
    fn every_row_is_what_the_engine_says() {
        let engine = crate::settings::to_compile().next().unwrap().unwrap();
        let message_of = |text: &str| {
            let component = wat::parse_str(text).map_err(|error| error.to_string())?;
            let error = engine.precompile_component(&component).err().ok_or("it is on")?;
            let error = malformed(&error);
            assert!(error.code() == ErrorCode::InvalidManifest && error.help().is_some(), "{error}");
            Ok::<_, String>(error.message().to_owned())
        };
        let wrong = USES.iter().map(|(name, text)| (name, text, message_of(text))).filter(|(name, _, message)| {
            let is_right = |message: &String| message.starts_with("the component uses ") && message.contains(**name);
            !message.as_ref().is_ok_and(is_right)
        });
        assert_eq!(wrong.collect::<Vec<_>>(), []);
        for feature in DISABLED {
            assert!(USES.iter().any(|(name, _)| feature.name.contains(name)), "{} has no example", feature.name);
        }
    }

    /// The features of WebAssembly 3.0 and WASI 0.2 are enabled.
    #[test]
    fn what_is_on_is_taken() {
        let engine = crate::settings::to_compile().next().unwrap().unwrap();
        for part in [
            "(memory 1) (memory 1)",
            "(memory i64 1)",
            "(tag $t) (func (try_table (catch_all 0)) (throw $t))",
            "(type (struct (field i32 anyref)))",
            "(type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))",
            "(func $f (return_call $f))",
            "(func (drop (v128.const i64x2 0 0)))",
            "(table 1 externref)",
        ] {
            let text = format!("(component (core module {part}))");
            engine
                .precompile_component(&wat::parse_str(&text).unwrap())
                .unwrap_or_else(|error| panic!("{part}: {error}"));
        }
    }
}
