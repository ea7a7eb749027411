//! Every kind of problem, with its line.

use super::super::PythonKind;
use super::*;

/// A valid Python manifest with these lines after its first.
fn python(lines: &str) -> String {
    format!("{{ \"name\": \"a\", \"version\": \"1\", \"module\": \"a\", \"class\": \"A\",\n{lines}\n}}")
}

/// A valid component's manifest with these lines after its first.
fn wasm(lines: &str) -> String {
    format!("{{ \"name\": \"a\", \"version\": \"1\", \"component\": \"a.wasm\",\n{lines}\n}}")
}

#[test]
fn all_problems_are_reported_together() {
    let text = r#"{
  "name": "-redact",
  "runtime": "wasn",
  "descripton": "masks",
  "concurrency": "two",
  "limits": {
    "memory": 64,
    "call_ms": 1.5
  },
  "permissions": {
    "filesystem": [
      {"path": "data", "mode": "append"}
    ]
  }
}"#;
    assert_eq!(
        problems(text),
        [
            "1: version is missing",
            "2: name must begin with a letter or digit and contain only letters, digits, '-', '_' and '.', at most 64 \
             characters, not \"-redact\"",
            "3: runtime must be \"wasm\" or \"python\", not \"wasn\"",
            "4: unknown key \"descripton\"; did you mean `description`?",
            "5: concurrency must be a whole number, not a string",
            "7: unknown key \"memory\" in `limits`; did you mean `memory_mb`?",
            "8: limits.call_ms must be a whole number, not 1.5",
            "12: permissions.filesystem[0].mode must be \"read\" or \"write\", not \"append\"",
            "12: permissions.filesystem[0].guest is missing",
        ]
    );
}

#[test]
fn text_that_is_not_json_has_a_line_and_a_column() {
    assert_eq!(
        problems("{\n  \"name\": \"a\"\n  \"version\": 1\n}"),
        ["3: this is not JSON: expected `,` or `}` at column 3"]
    );
    for (text, told) in [
        ("{\"name\": \"p\",\n}", "2: this is not JSON: there is a comma before the `}` at column 1; remove it"),
        (
            "{\"instances\": {\"max\": 1, } }",
            "1: this is not JSON: there is a comma before the `}` at column 26; remove it",
        ),
        (
            "{\"requirements\": [\"a\",]}",
            "1: this is not JSON: there is a comma before the `]` at column 23; remove it",
        ),
    ] {
        assert_eq!(problems(text), [told], "{text}");
    }
    assert_eq!(problems("{ // comment\n}"), ["1: this is not JSON: key must be a string at column 3"]);
    assert_eq!(problems(""), ["1: this is not JSON: EOF while parsing a value at column 0"]);
    assert_eq!(problems("[]"), ["1: a manifest must be an object, not a list"]);
}

#[test]
fn unknown_keys_name_the_nearest_or_their_place() {
    assert_eq!(
        problems(&wasm("\"memory_mb\": 64,\n\"instances\": {\"max\": 1, \"min\": 0},\n\"zzz\\u001b\": 1")),
        [
            "2: unknown key \"memory_mb\"; it belongs in `limits`",
            "3: unknown key \"min\" in `instances`; the most similar known key is `max`",
            "4: unknown key \"zzz\\u{1b}\"; docs/manifest.md lists the known keys",
        ]
    );
}

#[test]
fn keys_that_occur_twice() {
    assert_eq!(
        problems(&wasm("\"limits\": {\n\"fuel\": 1,\n\"fuel\": 2}, \"name\": \"b\"")),
        ["4: the key \"fuel\" occurs twice; keep one of them", "4: the key \"name\" occurs twice; keep one of them",]
    );
}

#[test]
fn wrong_types() {
    assert_eq!(
        problems(&python(
            "\"env_vars\": {\"A\": 1},\n\"requirements\": \"numpy\",\n\"enforce\": \"yes\",\n\"replicas\": null,\n\"resources\": []"
        )),
        [
            "2: env_vars.A must be a string, not 1",
            "3: requirements must be a list, not a string",
            "4: enforce must be true or false, not a string",
            "5: replicas must be a whole number, not null",
            "6: resources must be an object, not a list",
        ]
    );
}

#[test]
fn numbers_and_counts_are_bounded() {
    let many = vec!["\"x\""; 257].join(",");
    assert_eq!(
        problems(&python(&format!(
            "\"replicas\": 65,\n\"concurrency\": 0,\n\"start_s\": -1,\n\"idle_stop_s\": 1e999,\n\"limits\": {{\"files\": 0, \
         \"call_ms\": 99999999999999999999}},\n\"requirements\": [{many}]"
        ))),
        [
            "2: replicas must be from 1 to 64, not 65",
            "3: concurrency must be from 1 to 64, not 0",
            "4: start_s must be from 1 to 86400, not -1",
            "5: idle_stop_s is 1e999, which is too large for a 64-bit float: give it as a text",
            "6: limits.call_ms is 99999999999999999999, an integer outside the range of exact JSON integers (-2**63 \
             to 2**64-1): give it as a text",
            "6: limits.files must be from 1 to 1000000, not 0",
            "7: requirements must have at most 256 items, not 257",
        ]
    );
    assert_eq!(
        problems(&wasm(
            "\"instances\": {\"max\": 1001},\n\"permissions\": {\"secrets\": [{\"name\": \"K\", \"header\": \"H\", \"hosts\": []}]}"
        )),
        [
            "2: instances.max must be from 1 to 1000, not 1001",
            "3: permissions.secrets[0].hosts must have at least 1 items, not 0",
        ]
    );
}

#[test]
fn forms_of_text() {
    assert_eq!(
        problems(&python(
            "\"requires_python\": \"3.9\",\n\"python_path\": \"~/env/bin/python\",\n\"source\": \"\",\n\"env_vars\": {\"A=B\": \"\", \
         \"C\": \"\\u0000\"},\n\"category\": \"\\u001b[31m\""
        )),
        [
            "2: requires_python must be a PEP 440 specifier, for example \">=3.9\", not \"3.9\"",
            "3: python_path must be a path, absolute or relative to the manifest (`~` is not expanded: write the whole \
         path), not \"~/env/bin/python\"",
            "4: source must be a path, absolute or relative to the manifest (`~` is not expanded: write the whole path), \
         not \"\"",
            "5: a key of env_vars must be the name of an environment variable, not \"A=B\"",
            "5: env_vars.C must be text without NUL characters, not \"\\0\"",
            "6: category must be one line without control characters, not \"\\u{1b}[31m\"",
        ]
    );
    for hidden in ["\\u202e", "\\u2066", "\\u200b", "\\u200f", "\\u2028", "\\ufeff", "\\u061c", "\\u2060"] {
        for key in ["description", "category", "name", "version"] {
            let found = problems(&format!("{{\"component\": \"c.wasm\", \"{key}\": \"a{hidden}b\"}}"));
            let shown = hidden.replace("\\u", "\\u{").replace("{0", "{") + "}";
            assert!(found.iter().any(|one| one.contains(key) && one.contains(&shown)), "{key} {hidden}: {found:?}");
        }
    }
    assert_eq!(
        problems(&python("\"requirements\": [\"numpy\",\n\"--index-url=http://evil\"]")),
        ["3: requirements[1] must be a PEP 508 requirement, for example \"numpy>=2\", not \"--index-url=http://evil\""]
    );
    // Checked both with the pattern and with the rules for installers, and reported together.
    assert_eq!(
        problems(&python(
            "\"requirements\": [\"-e .\",\n\"numpy>>2\", \"ok\",\n\"a @ file:///a\"],\n\"requires_python\": \">>3\""
        )),
        [
            "2: requirements[0] must be a PEP 508 requirement, for example \"numpy>=2\", not \"-e .\"",
            "3: requirements[1], \"numpy>>2\", has versions that PEP 440 does not allow: Failed to parse version: no such \
             comparison operator \">>\", must be one of ~= == != <= >= < > ===",
            "4: requirements[3], \"a @ file:///a\", is neither from an index nor from an https URL",
            "5: requires_python, \">>3\", has versions that PEP 440 does not allow: Failed to parse version: no such \
             comparison operator \">>\", must be one of ~= == != <= >= < > ===; an example is \">=3.9,<3.14\"",
        ]
    );
    assert_eq!(
        problems(&wasm(
            "\"sha256\": \"abc\",\n\"permissions\": {\"network\": [\"example.com\"],\n\"filesystem\": [{\"path\": \"d\", \"guest\": \
         \"/a/../b\"}],\n\"secrets\": [{\"name\": \"K\", \"header\": \"A: b\", \"format\": \"Bearer\\r\\n{}\", \"hosts\": \
         [\"http://x\"]}]}"
        )),
        [
            "2: sha256 must be a SHA-256 digest of 64 hexadecimal digits, not \"abc\"",
            "3: permissions.network[0] must be an origin, for example \"https://api.example.com:443\", not \"example.com\"",
            "4: permissions.filesystem[0].guest must be an absolute path without `..`, for example \"/data\", not \"/a/../b\"",
            "5: permissions.secrets[0].header must be the name of an HTTP header, not \"A: b\"",
            "5: permissions.secrets[0].format must be one line with {} where the secret goes, for example \"Bearer {}\", \
         not \"Bearer\\r\\n{}\"",
            "5: permissions.secrets[0].hosts[0] must be a host, for example \"api.example.com\", not \"http://x\"",
        ]
    );
}

#[test]
fn contradictions() {
    assert_eq!(
        problems(&wasm("\"module\": \"a\",\n\"class\": \"A\"")),
        ["2: module contradicts component: a plugin is a component, or a Python class or function"]
    );
    assert_eq!(
        problems(&python("\"python_path\": \"p\",\n\"requirements\": []")),
        ["3: requirements contradicts python_path: keep python_path for an environment that exists, or requirements \
         for one that the host makes"]
    );
    assert_eq!(
        problems(&python("\"permissions\": {},\n\"pass_env\": [\"MY_*\"]")),
        [
            "3: pass_env is for a plugin without permissions, and this manifest has some: name the variables in permissions.env"
        ]
    );
    assert_eq!(
        problems(&wasm(
            "\"permissions\": {\"filesystem\": [{\"path\": \"a\", \"guest\": \"/d\"},\n{\"path\": \"b\", \"guest\": \"/d\"}]}"
        )),
        ["3: permissions.filesystem has \"/d\" twice; each guest path stands for one directory"]
    );
    assert_eq!(
        problems("{\"name\": \"a\", \"version\": \"1\"}"),
        ["1: nothing says what to run: give component (a .wasm file), or module and class, or function (in Python)"]
    );
    assert_eq!(
        problems("{\"name\": \"a\", \"version\": \"1\",\n\"runtime\": \"wasm\"}"),
        ["2: component is missing, which every wasm plugin must have"]
    );
    assert_eq!(
        problems("{\"name\": \"a\", \"version\": \"1\",\n\"module\": \"a\"}"),
        [
            "2: class is missing, which every python plugin must have; for a function write `\"function\": \"MODULE:NAME\"` in place \
             of module and class"
        ]
    );
}

#[test]
fn keys_of_the_other_runtime() {
    assert_eq!(
        problems(&wasm(
            "\"concurrency\": 2,\n\"env_vars\": {},\n\"source\": \"s\",\n\"start_s\": 5,\n\"limits\": {\"files\": 9,\n\"processes\": 9}"
        )),
        [
            "2: concurrency is for Python plugins, and this is a component; instances.max sets how many calls run at once",
            "3: env_vars is for Python plugins, and this is a component; permissions.env names the variables that it may see",
            "4: source is for Python plugins, and this is a component",
            "5: start_s is for Python plugins, and this is a component",
            "7: limits.processes is for Python plugins, and this is a component",
        ]
    );
    let text = python(
        "\"runtime\": \"python\",\n\"instances\": {\"max\": 2},\n\"isolation\": \"call\",\n\"component\": \"a.wasm\",\n\"limits\": {\"fuel\": 9,\n\"cpu_ms\": null}",
    );
    assert_eq!(
        problems(&text),
        [
            "3: instances is for components, and this is a Python plugin; replicas sets how many workers it has",
            "4: isolation is for components, and this is a Python plugin",
            "5: component is for components, and this is a Python plugin",
            "6: limits.fuel is for components, and this is a Python plugin",
        ]
    );
}

#[test]
fn no_key_names_a_variable_that_holds_a_secret_of_the_host() {
    let says = |line: usize, key: &str, name: &str| {
        format!(
            "{line}: {key} names \"{name}\", and variables that begin with BIVIUM_SECRET_ hold the host's secrets: ask for a \
             secret with permissions.secrets"
        )
    };
    let permissions = "\"permissions\": {\"env\": [\"LANG\",\n\"BIVIUM_SECRET_KEY\", \"BIVIUM_SECRET_\"]}";
    let both = [says(3, "permissions.env", "BIVIUM_SECRET_KEY"), says(3, "permissions.env", "BIVIUM_SECRET_")];
    assert_eq!(problems(&wasm(permissions)), both);
    assert_eq!(problems(&python(permissions)), both);
    let own = "\"env_vars\": {\"A\": \"1\",\n\"BIVIUM_SECRET_KEY\": \"x\"}";
    assert_eq!(problems(&python(own)), [says(3, "env_vars", "BIVIUM_SECRET_KEY")]);
    let allowed = "\"permissions\": {\"env\": [\"BIVIUM_SECRETS\", \"bivium_secret_key\", \"MY_BIVIUM_SECRET_KEY\"]}";
    Manifest::parse(&python(allowed), Path::new("/m/a.json")).unwrap();
}

#[test]
fn a_function_is_alone() {
    let function = |lines: &str| {
        format!("{{ \"name\": \"a\", \"version\": \"1\", \"function\": \"a.b:C.d\",\n\"source\": \".\"{lines}\n}}")
    };
    let object = parse(&function("")).unwrap().python().unwrap().object.clone();
    assert_eq!((object.module.as_str(), object.name.as_str(), object.kind), ("a.b", "C.d", PythonKind::Function));
    assert_eq!(
        problems(&function(
            ",\n\"module\": \"a\",\n\"class\": \"A\",\n\"init_args\": {\"x\": 1},\n\"config_schema\": {}"
        )),
        [
            "3: module contradicts function: function names its module itself, as \"module:function\"",
            "4: class contradicts function: a plugin is a class or a function",
            "5: init_args contradicts function: they are for the constructor of a class",
            "6: config_schema contradicts function: a function takes no configuration, only the arguments of the call",
        ]
    );
    let both = function(",\n\"component\": \"a.wasm\"");
    assert_eq!(
        problems(&both),
        ["1: function contradicts component: a plugin is a component, or a Python class or function"]
    );
    for name in ["detect", "a:", ":b", "a b:c", "a:b:c", "a:1"] {
        let text = function("").replace("a.b:C.d", name);
        assert_eq!(
            problems(&text),
            [format!(
                "1: function must be a module and a function in it, for example \"package.module:function\", not {name:?}"
            )]
        );
    }
}

#[test]
fn arguments_of_the_constructor_are_an_object_of_a_class() {
    let manifest = parse(&python("\"init_args\": {\"size\": 3, \"deep\": {\"a\": [null, 1.5]}}")).unwrap();
    assert_eq!(
        serde_json::json!(manifest.python().unwrap().init_args),
        serde_json::json!({"size": 3, "deep": {"a": [null, 1.5]}})
    );
    let many: Vec<String> = (0..257).map(|n| format!("\"a{n}\": 1")).collect();
    for (lines, problem) in [
        ("\"init_args\": [1]".to_owned(), "2: init_args must be an object, not a list".to_owned()),
        ("\"init_args\": null".to_owned(), "2: init_args must be an object, not null".to_owned()),
        (
            "\"init_args\": {\"a b\": 1}".to_owned(),
            "2: a key of init_args must be the name of an argument, not \"a b\"".to_owned(),
        ),
        (
            format!("\"init_args\": {{{}}}", many.join(",")),
            "2: init_args must have at most 256 keys, not 257".to_owned(),
        ),
    ] {
        assert_eq!(problems(&python(&lines)), [problem]);
    }
    let refused = problems(&wasm("\"init_args\": {\"a\": 1}"));
    assert_eq!(refused, ["2: init_args is for Python plugins, and this is a component"]);
    let refused = problems(&wasm("\"function\": \"a:b\", \"runtime\": \"wasm\""));
    assert_eq!(refused, ["2: function is for Python plugins, and this is a component"]);
}
