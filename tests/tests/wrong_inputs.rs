//! Wrong inputs of people: each gives one clear sentence and the documented exit status, and leaves nothing behind.

use std::path::Path;
use std::process::Stdio;

use bivium_tests::program;
use serde_json::json;

/// What is wrong, the arguments of `bivium`, the exit status, and what the sentence must contain.
type Case = (&'static str, &'static [&'static str], i32, &'static [&'static str]);

const CASES: &[Case] = &[
    ("no such plugin", &["run", "nosuch"], 3, &["there is no plugin \"nosuch\"", "hands"]),
    ("no such file", &["run", "hands", "data@=/no/such"], 3, &["/no/such", "No such file"]),
    ("no such manifest", &["validate", "/no/such.json"], 3, &["/no/such.json"]),
    ("broken JSON", &["run", "broken"], 4, &["broken.json", "line 2"]),
    ("unknown key", &["run", "unknown-key"], 4, &["unknown key \"componnent\"", "`component`"]),
    ("wrong module", &["run", "wrong-module"], 4, &["no module 'nowhere'"]),
    ("wrong class", &["run", "wrong-class"], 4, &["no class 'P'", "Q"]),
    ("class that raises on import", &["run", "raises"], 1, &["RuntimeError: no GPU today", "Traceback", "raises.py"]),
    ("no component file", &["run", "no-file"], 3, &["none.wasm"]),
    ("not a component", &["run", "not-wasm"], 4, &["text.wasm", "not WebAssembly"]),
    ("core module", &["run", "core-module"], 4, &["core.wasm", "core module"]),
    ("another world", &["run", "other-world"], 4, &["bivium:plugin/guest"]),
    ("wrong version of the world", &["run", "newer-world"], 4, &["0.1.0", "9.0.0"]),
    ("no such interpreter", &["run", "no-python"], 3, &["/no/python", "python_path"]),
    ("path outside of the exchange", &["run", "hands", "how=outside"], 5, &["/etc/passwd", "outside"]),
    ("payload over the limit", &["run", "hands", "how=large"], 6, &["16777216"]),
    ("foreign blob index from a component", &["run", "foreign"], 1, &["blob"]),
    ("wrong argument", &["run", "hands", "wrong=1"], 4, &["unexpected keyword argument 'wrong'"]),
    ("argument that is not JSON", &["run", "hands", "how:={"], 2, &["how"]),
    ("no arguments", &["run"], 2, &["Usage"]),
];

const HANDS: &str = "
import pathlib
class P:
    def execute(self, how='nothing', data=None):
        if how == 'outside':
            return {'x': pathlib.Path('/etc/passwd')}
        if how == 'large':
            return 'x' * (17 << 20)
        return how
";

fn write_plugins(dir: &Path) {
    let write = |file: &str, text: &[u8]| std::fs::write(dir.join(file), text).unwrap();
    let component = |name: &str, file: &str, text: &str| {
        write(file, &wat::parse_str(text).unwrap_or_else(|_| text.as_bytes().to_vec()));
        let manifest = json!({"name": name, "version": "1", "component": file});
        write(&format!("{name}.json"), manifest.to_string().as_bytes());
    };
    let python = |name: &str, module: &str, code: &str| {
        if !code.is_empty() {
            write(&format!("{module}.py"), code.as_bytes());
        }
        let manifest = json!({"name": name, "version": "1", "module": module, "class": "P", "source": "."});
        write(&format!("{name}.json"), manifest.to_string().as_bytes());
    };
    write("broken.json", b"{\"name\": \"broken\",\n");
    write("unknown-key.json", br#"{"name": "unknown-key", "version": "1", "componnent": "x.wasm"}"#);
    python("wrong-module", "nowhere", "");
    python("wrong-class", "other", "class Q: pass\n");
    python("raises", "raises", "raise RuntimeError('no GPU today')\n");
    python("hands", "hands", HANDS);
    let no_python =
        json!({"name": "no-python", "version": "1", "module": "hands", "class": "P", "python_path": "/no/python"});
    write("no-python.json", no_python.to_string().as_bytes());
    component("not-wasm", "text.wasm", "this is not WebAssembly");
    component("core-module", "core.wasm", "(module)");
    component("other-world", "other.wasm", "(component)");
    component(
        "newer-world",
        "newer.wasm",
        r#"(component (instance $guest) (export "bivium:plugin/guest@9.0.0" (instance $guest)))"#,
    );
    write("no-file.json", br#"{"name": "no-file", "version": "1", "component": "none.wasm"}"#);
    let misbehave = bivium_tests::root().join("tests/guests/target/guests/misbehave.wasm");
    let foreign = json!({"name": "foreign", "version": "1", "component": misbehave});
    write("foreign.json", foreign.to_string().as_bytes());
}

#[test]
fn wrong_inputs_give_one_clear_sentence_and_the_documented_status() {
    let dir = tempfile::tempdir().unwrap();
    write_plugins(dir.path());
    let program = program().unwrap();
    for (what, arguments, status, said) in CASES {
        let mut command = std::process::Command::new(&program);
        command.arg("--manifests").arg(dir.path()).arg("--data-dir").arg(dir.path().join("data"));
        command.args(*arguments).stdin(Stdio::null());
        if *what == "foreign blob index from a component" {
            command.args(["--method", "foreign-index"]);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let all = format!("{stderr}{}", String::from_utf8_lossy(&output.stdout));
        assert_eq!(output.status.code(), Some(*status), "{what}: {all}");
        for text in *said {
            assert!(all.contains(text), "{what} does not say {text:?}: {all}");
        }
        assert!(!all.contains("panicked"), "{what}: {all}");
    }
}
