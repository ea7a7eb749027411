//! `pipeline check`, and errors when a pipeline is given for a plugin or a plugin for a pipeline.

use serde_json::json;

use crate::place::Place;

#[test]
fn check_tells_problems_of_all_kinds_at_once() {
    let place = Place::with_probe();
    place.write(
        "manifests/words.py",
        "class Words:\n    def execute(self, text: str, *, times: int = 1): return text\n    def any(self, **more): return more\n",
    );
    let words = json!({"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."});
    place.write("manifests/words.json", &words.to_string());
    place.run(&["disable", "probe"]).assert_status(0);
    place.write(
        "steps.json",
        r#"{"name": "p", "inputs": {"a": {"file": "none"}}, "outputz": {}, "steps": [
            {"id": "a", "plugin": "words", "args": {"txet": "a", "zzz": 1, "times": 2}},
            {"id": "b", "plugin": "words", "method": "any", "args": {"some": 1}},
            {"id": "c", "plugin": "words", "method": "ani"},
            {"id": "d", "plugin": "probe", "for_each": "none"},
            {"id": "e", "plugin": "nobody", "stream": 7},
            {"id": "f", "plugin": "nobody", "args": {"v": {"$from": "e/x"}}}]}"#,
    );
    insta::assert_snapshot!(place.run(&["pipeline", "check", "steps.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: the pipeline steps.json would not run
      line 1: unknown key "outputz"; did you mean `outputs`?
      line 1: inputs.a.file: there is no file none
      line 2: steps.0.args.txet: execute of words takes no argument "txet"; did you mean "text"?
      line 2: steps.0.args.zzz: execute of words takes no argument "zzz"; it takes text, times
      line 4: steps.2.method: words has no method "ani"; did you mean "any"?
      line 5: steps.3.for_each: "none" is not an earlier step; those before it are a, b, c
      line 5: steps.3.plugin: probe is disabled; `bivium enable probe` enables it
      line 6: steps[4].stream must be true or false, not 7
      line 7: steps.5.plugin: there is no plugin "nobody"; known plugins are probe, words; searched in [DIR]/manifests
    "#);
    let json = place.run(&["pipeline", "check", "steps.json", "--output=json"]);
    let error: serde_json::Value = serde_json::from_str(&json.assert_status(4).stderr).unwrap();
    assert_eq!(error["problems"].as_array().unwrap().len(), 9, "{error}");
}

#[test]
fn check_compares_all_configurations_with_the_plugins_schemas() {
    let place = Place::with_probe();
    let schema = json!({"type": "object", "properties": {"mask": {"type": "string"}, "times": {"type": "integer", "minimum": 1}},
        "additionalProperties": false});
    let probe = json!({"name": "probe", "version": "1", "module": "probe_plugin", "class": "Probe", "source": "..",
        "config_schema": schema});
    place.write("manifests/probe.json", &probe.to_string());
    let steps = r#""steps": [{"id": "a", "plugin": "probe"}]"#;
    place.write("good.json", &format!(r#"{{"name": "p", "configs": {{"probe": {{"times": 2}}}}, {steps}}}"#));
    place.run(&["pipeline", "check", "good.json"]).assert_status(0);
    let configs = "\"configs\": {\n\"probe\": {\"mask\": 7,\n\"times\": 0,\n\"tims\": 1},\n\"other\": {}}";
    place.write("bad.json", &format!("{{\"name\": \"p\",\n{configs},\n{steps}}}"));
    insta::assert_snapshot!(place.run(&["pipeline", "check", "bad.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: the pipeline bad.json would not run
      line 3: configs.probe.mask: 7 is not of type "string"
      line 3: configs.probe: there is no setting "tims"; did you mean "times"?
      line 4: configs.probe.times: 0 is less than the minimum of 1
      line 6: configs.other: no step calls a plugin with this name
    "#);
}

#[test]
fn a_text_where_a_step_takes_another_form_is_told_by_check_and_by_the_steps_error() {
    let place = Place::new();
    let source = "class Words:\n    def execute(self, text: str, times: int = 1, image: bytes = b''): return text * (times + 1)\n";
    place.write("manifests/words.py", source);
    let words = json!({"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."});
    place.write("manifests/words.json", &words.to_string());
    let args = json!({"text": "a", "times": "3", "image": "cat.png"});
    let pipeline = json!({"name": "p", "steps": [{"id": "a", "plugin": "words", "args": args}]});
    place.write("p.json", &pipeline.to_string());
    let check = place.run(&["pipeline", "check", "p.json"]);
    let told =
        "line 1: steps.0.args.times: execute of words does not take a text as \"times\": write 3, without quotes";
    assert!(check.assert_status(4).stderr.contains(told), "{}", check.all());
    assert!(
        check.stderr.contains("takes a file as \"image\", but this is a text: write {\"$from\": "),
        "{}",
        check.all()
    );
    let ran = place.run(&["pipeline", "run", "p.json"]);
    assert!(
        ran.assert_status(1).stderr.contains("execute does not take a text as \"times\": write 3"),
        "{}",
        ran.all()
    );
    place.assert_clean();
}

#[test]
fn check_tells_the_arguments_that_are_missing_and_the_methods_of_components() {
    let place = Place::new();
    place.write(
        "manifests/words.py",
        "class Words:\n    def execute(self, text: str, *, times: int = 1): return text\n",
    );
    let words = json!({"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."});
    place.write("manifests/words.json", &words.to_string());
    let text = r#"(component
        (core module $m (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add))
        (core instance $i (instantiate $m))
        (func (export "add") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add")))
        (func (export "sub") (param "a" s32) (param "b" s32) (result s32) (canon lift (core func $i "add"))))"#;
    std::fs::write(place.path("manifests/sums.wasm"), wat::parse_str(text).unwrap()).unwrap();
    place.component("sums", json!({}));
    place.write(
        "steps.json",
        r#"{"name": "p", "steps": [
            {"id": "a", "plugin": "words"},
            {"id": "b", "plugin": "words", "args": {"times": 2}},
            {"id": "c", "plugin": "sums", "args": {"a": 1}},
            {"id": "d", "plugin": "sums", "method": "ad", "args": {"a": 1, "b": 2}},
            {"id": "e", "plugin": "sums", "method": "add", "args": {"a": 1}},
            {"id": "f", "plugin": "sums", "method": "sub", "args": {"a": 1, "b": 2}}]}"#,
    );
    insta::assert_snapshot!(place.run(&["pipeline", "check", "steps.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: the pipeline steps.json would not run
      line 2: steps.0: execute of words needs the argument "text"
      line 3: steps.1.args: execute of words needs the argument "text"
      line 4: steps.2: sums has no method "execute"; it has add, sub
      line 5: steps.3.method: sums has no method "ad"; did you mean "add"?
      line 6: steps.4.args: add of sums needs the argument "b"
    "#);
}

#[test]
fn a_list_that_is_none_is_told_with_the_cure() {
    let place = Place::with_probe();
    let pipeline = |each: &str| {
        let steps =
            format!(r#"[{{"id": "a", "plugin": "probe"}}, {{"id": "b", "plugin": "probe", "for_each": "{each}"}}]"#);
        place.write("p.json", &format!(r#"{{"name": "p", "inputs": {{"words": {{}}}}, "steps": {steps}}}"#));
        place.run(&["pipeline", "run", "p.json", "words=one"])
    };
    for (each, status, told) in [
        (
            "inputs/words",
            4,
            "but that is a text, not a list; give a list as the input \"words\"; on a command line as JSON: words:='[…]'",
        ),
        (
            "a/kwargs",
            4,
            "but that is an object, not a list; name a list in the result of \"a\"; if its method gives results one by one",
        ),
        ("a", 4, "name a list in it (a/…), or write `\"stream\": true` in that step"),
    ] {
        let ran = pipeline(each);
        assert!(ran.assert_status(status).stderr.contains(told), "{}", ran.all());
    }
    place.assert_clean();
}

#[test]
fn a_hostile_name_of_a_pipeline_is_shortened_and_escaped() {
    let place = Place::with_probe();
    for name in ["x".repeat(900_000), "a\nbivium: all is well\u{1b}[2J\u{202e}".to_owned()] {
        let pipeline = json!({"name": name, "steps": [{"id": "a", "plugin": "probe"}], "description": name});
        place.write("manifests/pipeline.json", &pipeline.to_string());
        for command in
            ["validate manifests", "pipeline list", "pipeline check manifests/pipeline.json", "pipeline run xxxxxx"]
        {
            let ran = place.run(&command.split(' ').collect::<Vec<_>>());
            let said = format!("{}{}", ran.stdout, ran.stderr);
            assert!(said.len() < 12_000 && !said.contains(['\u{1b}', '\u{202e}']), "{command}: {}", said.len());
            assert!(!said.contains("\nbivium: all"), "{command}: {said}");
        }
    }
}

#[test]
fn a_pipeline_is_no_plugin_and_a_plugin_no_pipeline() {
    let place = Place::with_probe();
    let pipeline = json!({"name": "both", "steps": [{"id": "a", "plugin": "probe"}]});
    place.write("manifests/pipeline.json", &pipeline.to_string());
    for command in ["run", "stream", "info"] {
        let ran = place.run(&[command, "both"]);
        assert!(ran.assert_status(3).stderr.contains("`bivium pipeline run both` runs it"), "{}", ran.all());
    }
    for command in ["run", "check"] {
        let ran = place.run(&["pipeline", command, "probe"]);
        assert!(ran.assert_status(3).stderr.contains("`bivium run probe` calls the plugin"), "{}", ran.all());
    }
}

#[test]
fn a_wrong_source_or_input_is_told_with_the_one_that_was_meant() {
    let place = Place::with_probe();
    place.write(
        "p.json",
        r#"{"name": "p", "inputs": {"audio": {"default": 1}, "n": {"default": 1}}, "steps": [
            {"id": "words", "plugin": "probe", "args": {"a": {"$from": "inputs/audoi"}, "b": {"$from": "audio"}}},
            {"id": "next", "plugin": "probe", "for_each": "input/n", "args": {"a": {"$from": "word/text"}}},
            {"id": "last", "plugin": "probe", "args": {"a": {"$from": "inputs/zzz"}, "b": {"$from": "last"}}}],
            "outputs": {"o": {"$from": "lsat"}}}"#,
    );
    insta::assert_snapshot!(place.run(&["pipeline", "check", "p.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: the pipeline p.json would not run
      line 2: steps.0.args.a: the pipeline has no input "audoi"; did you mean "audio"?
      line 2: steps.0.args.b: "audio" is not an earlier step; for the input of this name write "inputs/audio"
      line 3: steps.1.for_each: "input" is not an earlier step; did you mean "inputs"?
      line 3: steps.1.args.a: "word" is not an earlier step; did you mean "words"?
      line 4: steps.2.args.a: the pipeline has no input "zzz"; its inputs are audio, n
      line 4: steps.2.args.b: "last" is not an earlier step: a step can use only the results of steps before it
      line 5: outputs.o: "lsat" is not an earlier step; did you mean "last"?
    "#);
}

#[test]
fn an_input_of_another_form_than_the_plugin_takes_is_told_with_what_to_write() {
    let place = Place::new();
    let source = "class Words:\n    def execute(self, text: str = '', times: int = 1, image: bytes = b''): return text[0] * (times + len(image))\n";
    place.write("manifests/words.py", source);
    let words = json!({"name": "words", "version": "1", "module": "words", "class": "Words", "source": "."});
    place.write("manifests/words.json", &words.to_string());
    place.write("photo.png", "png");
    let step = |args: &str| format!(r#"{{"id": "a", "plugin": "words", "args": {args}}}"#);
    let args =
        r#"{"text": {"$from": "inputs/text"}, "times": {"$from": "inputs/n"}, "image": {"$from": "inputs/photo"}}"#;
    let inputs = r#"{"text": {"file": "photo.png"}, "n": {"default": "3"}, "photo": {"default": "photo.png"}}"#;
    place.write("p.json", &format!("{{\"name\": \"p\", \"inputs\": {inputs},\n\"steps\": [{}]}}", step(args)));
    insta::assert_snapshot!(place.run(&["pipeline", "check", "p.json"]).all(), @r#"
    4
    --- stdout
    --- stderr
    bivium: the pipeline p.json would not run
      line 2: steps.0.args.text: execute of words takes a text as "text", but this is a file: give the input "text" a `default` in place of its `file`
      line 2: steps.0.args.times: execute of words does not take a text as "times": write 3, without quotes, as the default of the input "n"
      line 2: steps.0.args.image: execute of words takes a file as "image", but this is a text: give the input "photo" a `file` in place of its `default`
    "#);
    let inputs = r#"{"text": {"default": "a"}, "n": {"default": 3}, "photo": {}}"#;
    place.write("q.json", &format!("{{\"name\": \"p\", \"inputs\": {inputs},\n\"steps\": [{}]}}", step(args)));
    place.run(&["pipeline", "check", "q.json"]).assert_status(0);
    let ran = place.run(&["pipeline", "run", "q.json", "n=4", "photo=photo.png"]);
    for told in [
        "execute does not take a text as \"times\": write `n:=4`",
        "execute takes a file as \"image\", but this is a text: write `photo@=FILE`",
    ] {
        assert!(ran.assert_status(1).stderr.contains(told), "{}", ran.all());
    }
    place.assert_clean();
}

#[test]
fn a_component_that_refuses_an_input_is_told_with_what_to_write() {
    let place = Place::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let component = root.join("examples/plugins/target/guests/image-thumb.wasm");
    std::fs::copy(component, place.path("manifests/thumb.wasm")).unwrap();
    place.component("thumb", json!({}));
    let steps = r#"[{"id": "a", "plugin": "thumb", "args": {"image": {"$from": "inputs/photo"}}}]"#;
    place.write("p.json", &format!(r#"{{"name": "p", "inputs": {{"photo": {{}}}}, "steps": {steps}}}"#));
    let ran = place.run(&["pipeline", "run", "p.json", "photo=photo.png"]);
    let told = "execute takes a file as \"image\", but this is a text: write `photo@=FILE`";
    assert!(ran.assert_status(4).stderr.contains(told), "{}", ran.all());
    let check = place.run(&["pipeline", "check", "p.json"]);
    let told = "Not checked: the methods and arguments of thumb.";
    assert!(check.assert_status(0).stderr.contains(told), "{}", check.all());
    let check = place.run(&["pipeline", "check", "p.json", "--output=json"]);
    assert_eq!(check.json()["not_checked"], json!(["thumb"]));
    place.assert_clean();
}

#[test]
fn a_step_that_names_no_method_of_its_plugin_is_told_what_to_write() {
    let place = Place::new();
    let source = "class Streams:\n    def execute_stream(self): yield 1\nclass Named:\n    def shout(self): return 1\n";
    place.write("manifests/both.py", source);
    for (name, class) in [("streams", "Streams"), ("named", "Named")] {
        let manifest = json!({"name": name, "version": "1", "module": "both", "class": class, "source": "."});
        place.write(&format!("manifests/{name}.json"), &manifest.to_string());
        let pipeline = json!({"name": "p", "steps": [{"id": "a", "plugin": name}]});
        place.write(&format!("{name}-pipeline.json"), &pipeline.to_string());
    }
    for (file, step, call) in [
        ("streams", "write `\"stream\": true` in the step", "`bivium stream` makes a streaming call"),
        ("named", "for example `\"method\": \"shout\"`", "for example `--method shout`"),
    ] {
        let ran = place.run(&["pipeline", "run", &format!("{file}-pipeline.json")]);
        assert!(ran.assert_status(3).stderr.contains(step), "{}", ran.all());
        let ran = place.run(&["run", file]);
        assert!(ran.assert_status(3).stderr.contains(call), "{}", ran.all());
    }
    for load in [&["info", "streams"][..], &["info", "streams", "--load"]] {
        let info = place.run(load);
        assert!(info.assert_status(0).stdout.contains("$ bivium stream streams\n"), "{}", info.all());
    }
    place.assert_clean();
}
