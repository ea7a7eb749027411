//! Reads a pipeline and reports all its problems at once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::LazyLock;

use bivium_interface::manifest::CheckedText;
use bivium_interface::{PluginError, Problem, Result, head, nearest, read_text, reference_token};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use super::template::{Location, places};
use super::{Input, Pipeline, Step};

/// The JSON Schema of a pipeline's file.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let mut schema = generator.into_root_schema_for::<Pipeline>().to_value();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let editor = json!({"type": "string", "description": "This schema's place, for editors."});
        properties.insert("$schema".to_owned(), editor);
    }
    schema
});

/// A pipeline that may have problems, for callers who look for more problems before they report all of them.
pub struct Draft {
    checked: CheckedText,
    pipeline: Option<Pipeline>,
    /// The beginning of error messages.
    place: String,
}

impl Draft {
    /// Reads a pipeline file.
    ///
    /// # Errors
    /// `not-found` if the file does not exist; `invalid-input` if it cannot be read or is not JSON.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_text(path, Pipeline::MAX_BYTES).map_err(|error| {
            let what = format!("cannot read the pipeline {}: {error}", path.display());
            match error.kind() {
                ErrorKind::NotFound => PluginError::not_found(what),
                _ => PluginError::invalid_input(what),
            }
        })?;
        Self::parse(&text, path.parent().unwrap_or(Path::new("")), format!("{}: ", path.display()))
    }

    fn parse(text: &str, dir: &Path, place: String) -> Result<Self> {
        let checked = CheckedText::read(text, &SCHEMA, "a pipeline")
            .map_err(|problems| invalid(&place).with_problems(problems))?;
        let mut pipeline = lenient(checked.value());
        if let Some(pipeline) = &mut pipeline {
            dir.clone_into(&mut pipeline.dir);
        }
        Ok(Self { checked, pipeline, place })
    }

    /// The valid part of the pipeline: unknown keys are left out, and an invalid step has no plugin. `None` if no part is valid.
    #[must_use]
    pub fn pipeline(&self) -> Option<&Pipeline> {
        self.pipeline.as_ref()
    }

    /// The pipeline, if it has no problems of its own and `found` is empty. The places in `found` are JSON Pointers.
    ///
    /// # Errors
    /// `invalid-input`, which lists all problems.
    pub fn finish(self, found: Vec<Problem>) -> Result<Pipeline> {
        let mut problems = self.pipeline.as_ref().map(Pipeline::problems).unwrap_or_default();
        problems.extend(found);
        match self.pipeline {
            Some(pipeline) if problems.is_empty() && self.checked.is_fit() => Ok(pipeline),
            _ => Err(invalid(&self.place).with_problems(self.checked.problems(&problems))),
        }
    }
}

fn invalid(place: &str) -> PluginError {
    PluginError::invalid_input(format!("{place}not a valid pipeline"))
}

/// The valid part of a value that should be a pipeline.
fn lenient(mut value: Value) -> Option<Pipeline> {
    let object = value.as_object_mut()?;
    object.remove("$schema");
    keep_known(object, &SCHEMA);
    let mut broken = Vec::new();
    let steps = object.get_mut("steps").and_then(Value::as_array_mut);
    for (n, step) in steps.into_iter().flatten().enumerate() {
        if let (Some(step), Some(known)) = (step.as_object_mut(), SCHEMA.pointer("/$defs/Step")) {
            keep_known(step, known);
        }
        if Step::deserialize(&*step).is_err() {
            let id = step.get("id").and_then(Value::as_str).map_or_else(|| format!("#{n}"), str::to_owned);
            // References to its result may be right.
            *step = json!({"id": id, "plugin": "", "stream": true});
            broken.push(n);
        }
    }
    for input in object.get_mut("inputs").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if Input::deserialize(&*input).is_err() {
            *input = json!({});
        }
    }
    let mut pipeline: Pipeline = serde_json::from_value(value).ok()?;
    for n in broken {
        if let Some(step) = pipeline.steps.get_mut(n) {
            step.is_broken = true;
        }
    }
    Some(pipeline)
}

fn keep_known(object: &mut Map<String, Value>, schema: &Value) {
    object.retain(|key, _| schema.get("properties").is_some_and(|known| known.get(key).is_some()));
}

impl Pipeline {
    /// The largest pipeline file, in bytes: a thousand steps take a tenth of it.
    const MAX_BYTES: u64 = 1 << 20;
    /// How many steps a pipeline may have.
    const MAX_STEPS: usize = 1000;
    /// The longest id of a step, in bytes. Errors and the table of steps show it.
    const MAX_ID: usize = 100;

    /// Reads a pipeline file.
    ///
    /// # Errors
    /// `not-found` if the file does not exist; `invalid-input`, which lists all problems.
    pub fn read(path: &Path) -> Result<Self> {
        Draft::read(path)?.finish(Vec::new())
    }

    /// Reads a pipeline from text. Its files are relative to `dir`.
    ///
    /// # Errors
    /// `invalid-input`, which lists all problems.
    pub fn parse(text: &str, dir: &Path) -> Result<Self> {
        Draft::parse(text, dir, String::new())?.finish(Vec::new())
    }

    /// The JSON Schema (draft 2020-12) of a pipeline's file; `docs/pipeline.schema.json` is its copy.
    #[must_use]
    pub fn json_schema() -> Value {
        SCHEMA.clone()
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |location: String, message: String| problems.push(Problem::new(location, message));
        if self.steps.is_empty() {
            report("/steps".to_owned(), "there must be at least one step".to_owned());
        }
        if self.steps.len() > Self::MAX_STEPS {
            let most = Self::MAX_STEPS;
            report(
                "/steps".to_owned(),
                format!("there are {} steps, but at most {most} are allowed", self.steps.len()),
            );
            return problems;
        }
        for (name, input) in &self.inputs {
            if input.default.is_some() && input.file.is_some() {
                report(format!("/inputs/{}", reference_token(name)), "has both a default and a file".to_owned());
            }
        }
        let plugins: BTreeSet<&str> = self.steps.iter().map(|step| step.plugin.as_str()).collect();
        for name in self.configs.keys().filter(|name| !plugins.contains(name.as_str())) {
            report(format!("/configs/{}", reference_token(name)), "no step calls a plugin with this name".to_owned());
        }
        let mut before: BTreeMap<&str, &Step> = BTreeMap::new();
        for (n, step) in self.steps.iter().enumerate() {
            let at = format!("/steps/{n}");
            let is_odd = step.id.is_empty()
                || step.id.len() > Self::MAX_ID
                || step.id.contains(|c: char| c.is_control() || c == '/');
            if is_odd || ["inputs", "item"].contains(&step.id.as_str()) {
                report(format!("{at}/id"), format!("{:?} cannot be the id of a step", head(&step.id, Self::MAX_ID)));
            }
            if step.plugin.is_empty() && !step.is_broken {
                report(format!("{at}/plugin"), "this is not a plugin's name".to_owned());
            }
            if step.plugin.len() > Self::MAX_ID {
                report(format!("{at}/plugin"), "this is too long for a plugin's name".to_owned());
            }
            if before.contains_key(step.id.as_str()) {
                report(format!("{at}/id"), format!("{:?} is also the id of an earlier step", step.id));
            }
            if let Some(Err(message)) = step.for_each.as_ref().map(|list| self.check_list(list, &before)) {
                report(format!("{at}/for_each"), message);
            }
            for (name, template) in &step.args {
                let item = step.for_each.is_some();
                self.check_places(template, &before, item, |message| {
                    report(format!("{at}/args/{}", reference_token(name)), message)
                });
            }
            before.entry(&step.id).or_insert(step);
        }
        for (name, template) in &self.outputs {
            self.check_places(template, &before, false, |message| {
                report(format!("/outputs/{}", reference_token(name)), message)
            });
        }
        problems
    }

    /// Checks that there can be a list at the place that `for_each` names.
    fn check_list(&self, place: &str, before: &BTreeMap<&str, &Step>) -> Result<(), String> {
        let Location { source, pointer } = Location::parse(place);
        if source == "inputs" {
            let name = pointer.split('/').nth(1).unwrap_or_default();
            return if self.inputs.contains_key(name) { Ok(()) } else { Err(self.no_input(name)) };
        }
        match before.get(source) {
            Some(earlier) if earlier.has_list() || !pointer.is_empty() => Ok(()),
            Some(_) => Err(format!(
                "step {source:?} has one result, not a list: name a list in it ({source}/…), or write `\"stream\": true` in that \
                 step if its method gives results one by one"
            )),
            None => Err(self.no_source(source, before)),
        }
    }

    fn check_places(
        &self,
        template: &Value,
        before: &BTreeMap<&str, &Step>,
        item: bool,
        mut report: impl FnMut(String),
    ) {
        places(template, &mut |place| match place {
            Err(message) => report(message),
            Ok(place) => match place.source {
                "item" if item => {}
                "item" => report("there is an item only in a step with `for_each`".to_owned()),
                "inputs" => {
                    let name = place.pointer.split('/').nth(1).unwrap_or_default();
                    if !self.inputs.contains_key(name) {
                        report(self.no_input(name));
                    }
                }
                source if before.contains_key(source) => {}
                source => report(self.no_source(source, before)),
            },
        });
    }

    /// The message about an input that does not exist.
    fn no_input(&self, name: &str) -> String {
        format!("the pipeline has no input {name:?}; {}", self.meant_input(name))
    }

    /// The input that was probably meant, or else all of them.
    pub(super) fn meant_input(&self, name: &str) -> String {
        let known: Vec<&str> = self.inputs.keys().map(|known| head(known, Self::MAX_ID)).collect();
        match nearest(name, known.iter().copied()) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if known.is_empty() => "it has none".to_owned(),
            None => format!("its inputs are {}", listed(&known)),
        }
    }

    /// The message about a source that is no earlier step.
    fn no_source(&self, source: &str, before: &BTreeMap<&str, &Step>) -> String {
        let what = format!("{source:?} is not an earlier step");
        if self.inputs.contains_key(source) {
            return format!("{what}; for the input of this name write {:?}", format!("inputs/{source}"));
        }
        if self.steps.iter().any(|step| step.id == source) {
            return format!("{what}: a step can use only the results of steps before it");
        }
        let known: Vec<&str> = before.keys().map(|known| head(known, Self::MAX_ID)).collect();
        let meant = match nearest(source, known.iter().copied().chain(["inputs", "item"])) {
            Some(meant) => format!("did you mean {meant:?}?"),
            None if known.is_empty() => "there is none before it".to_owned(),
            None => format!("those before it are {}", listed(&known)),
        };
        format!("{what}; {meant}")
    }

    /// The input that a template stands for, and its name, if it is a reference to one whole input.
    #[must_use]
    pub fn input_of<'a>(&'a self, template: &Value) -> Option<(&'a str, &'a Input)> {
        let mut found = None;
        if template.as_object()?.len() == 1 {
            places(template, &mut |place| found = place.ok());
        }
        let Location { source: "inputs", pointer } = found? else { return None };
        let name = pointer.strip_prefix('/')?;
        self.inputs.get_key_value(name).map(|(name, input)| (name.as_str(), input))
    }
}

/// Names, for a message.
fn listed(names: &[&str]) -> String {
    const MOST: usize = 10;
    let more = if names.len() > MOST { ", …" } else { "" };
    let names: Vec<String> = names.iter().take(MOST).map(|name| name.escape_debug().to_string()).collect();
    format!("{}{more}", names.join(", "))
}

impl Step {
    /// Whether the step's result is a list.
    pub(super) fn has_list(&self) -> bool {
        self.stream || self.for_each.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let text = r#"{"name": "p", "inputs": {"a": {}}, "configs": {"z": {}}, "steps": [
            {"id": "one", "plugin": "x", "args": {"v": {"$from": "inputs/b"}, "w": {"$from": "item/q"}}},
            {"id": "one", "plugin": "x", "for_each": "one"},
            {"id": "three", "plugin": "x", "args": {"v": {"$from": "four"}, "w": {"$form": "one"}}}],
            "outputs": {"o": {"$from": "five"}}}"#;
        let error = Pipeline::parse(text, Path::new("")).unwrap_err();
        let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        let locations: Vec<_> = problems.iter().filter_map(|problem| problem.split(": ").nth(1)).collect();
        let expected = [
            "configs.z",
            "steps.0.args.v",
            "steps.0.args.w",
            "steps.1.id",
            "steps.1.for_each",
            "steps.2.args.v",
            "steps.2.args.w",
            "outputs.o",
        ];
        assert!(problems[1].starts_with("line 2: ") && problems[7].starts_with("line 5: "), "{problems:?}");
        assert_eq!(locations, expected);
    }

    #[test]
    fn messages_about_a_hostile_file_are_bounded() {
        let long = "x".repeat(100_000);
        let step = json!({"id": long, "plugin": long, "for_each": long, "args": {&long: {"$from": long}}});
        let odd = json!({"id": "a\nb", "plugin": "p"});
        let pipeline =
            json!({"name": long, "configs": {&long: {}}, "outputs": {&long: {"$from": long}}, "steps": [step, odd]});
        let error = Pipeline::parse(&pipeline.to_string(), Path::new("")).unwrap_err();
        let told = error.to_string();
        assert!(error.problems().len() == 5 && told.len() < 20_000, "{} {}", error.problems().len(), told.len());
        assert!(told.contains(r#"steps.1.id: "a\nb" cannot be the id of a step"#), "{told}");
    }

    #[test]
    fn keys_with_a_slash_have_their_own_lines_and_a_step_without_a_plugin_is_told() {
        let text = "{\"name\": \"p\",\n\"inputs\": {\n\"ok\": {},\n\"a/b\": {\"default\": 1, \"file\": \"x\"}},\n\
                    \"steps\": [{\"id\": \"one\",\n\"plugin\": \"\"}],\n\"outputs\": {\"q~/r\":\n{\"$from\": \"none\"}}}";
        let error = Pipeline::parse(text, Path::new("")).unwrap_err();
        let told: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        let begins =
            ["line 4: inputs.a/b: ", "line 6: steps.0.plugin: this is not a plugin's name", "line 7: outputs.q~/r: "];
        assert!(told.len() == 3 && told.iter().zip(begins).all(|(told, begin)| told.starts_with(begin)), "{told:?}");
    }

    #[test]
    fn problems_of_all_kinds_are_reported_together() {
        let text = "{\"name\": \"p\", \"stepz\": 1, \"steps\": [\n{\"id\": \"a\", \"plugin\": 7},\n{\"id\": \"b\", \"plugin\": \"x\", \
            \"method\": \"m\", \"foreach\": \"a\",\n\"args\": {\"v\": {\"$from\": \"a/words\"}, \"w\": {\"$from\": \"none\"}}}]}";
        let draft = Draft::parse(text, Path::new(""), "p.json: ".to_owned()).unwrap();
        let plugins: Vec<&str> = draft.pipeline().unwrap().steps.iter().map(|step| step.plugin.as_str()).collect();
        assert_eq!(plugins, ["", "x"]);
        let error = draft.finish(vec![Problem::new("/steps/1/plugin", "there is no such plugin")]).unwrap_err();
        let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        let begins = [
            "line 1: unknown key \"stepz\"",
            "line 2: steps[0].plugin must be a string",
            "line 3: unknown key \"foreach\" in `steps[1]`",
            "line 3: steps.1.plugin: there is no such plugin",
            "line 4: steps.1.args.w: \"none\" is not an earlier step",
        ];
        assert!(
            problems.len() == 5 && problems.iter().zip(begins).all(|(told, begin)| told.starts_with(begin)),
            "{problems:?}"
        );
        for text in ["7", "[]", r#"{"name": 1, "steps": 2}"#] {
            assert!(Draft::parse(text, Path::new(""), String::new()).unwrap().finish(Vec::new()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_is_checked_as_a_manifest_is_with_lines_and_the_nearest_key() {
        let text =
            "{\"name\": \"p\",\n\"stepz\": [],\n\"steps\": [{\"id\": \"a\", \"plugin\": 7,\n\"foreach\": \"a\"}]}";
        let error = Pipeline::parse(text, Path::new("")).unwrap_err();
        let problems: Vec<String> = error.problems().iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "line 2: unknown key \"stepz\"; did you mean `steps`?");
        assert!(problems[1].starts_with("line 3: steps[0].plugin must be a string, not 7"), "{problems:?}");
        assert!(
            problems[2].starts_with("line 4: ") && problems[2].contains("did you mean `for_each`?"),
            "{problems:?}"
        );
    }

    /// `UPDATE_DOCS=1 cargo test` writes the file again.
    #[test]
    fn the_published_schema_is_the_one_in_force_and_takes_the_example() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let file = root.join("docs/pipeline.schema.json");
        let schema = format!("{:#}\n", Pipeline::json_schema());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), schema, "run with UPDATE_DOCS=1");
        let example = root.join("examples/pipelines/transcribe/pipeline.json");
        Pipeline::read(&example).unwrap();
        let value: Value = serde_json::from_str(&std::fs::read_to_string(example).unwrap()).unwrap();
        let validator = jsonschema::validator_for(&Pipeline::json_schema()).unwrap();
        assert!(validator.is_valid(&value));
        assert!(!validator.is_valid(&json!({"name": "p", "steps": [], "more": 1})));
    }

    #[test]
    fn a_file_that_never_ends_is_refused_and_a_pipe_is_read() {
        let endless = Pipeline::read(Path::new("/dev/zero")).unwrap_err();
        assert!(endless.message().contains("it is a device"), "{endless}");
        let dir = tempfile::tempdir().unwrap();
        let large = dir.path().join("large.json");
        std::fs::File::create(&large).unwrap().set_len(Pipeline::MAX_BYTES + 1).unwrap();
        let error = Pipeline::read(&large).unwrap_err();
        assert_eq!(error.code(), bivium_interface::ErrorCode::InvalidInput, "{error}");
        let (pipe, mut writer) = std::io::pipe().unwrap();
        let text = br#"{"name": "p", "steps": [{"id": "a", "plugin": "x"}]}"#;
        std::io::Write::write_all(&mut writer, text).unwrap();
        drop(writer);
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        assert_eq!(Pipeline::read(Path::new(&path)).unwrap().name, "p");
    }

    #[test]
    fn there_is_a_limit_to_steps_and_to_reported_problems() {
        let step = |n: usize| json!({"id": format!("s{n}"), "plugin": "x", "args": {"v": {"$from": "none"}}});
        let told = |steps: usize| {
            let steps: Vec<Value> = (0..steps).map(step).collect();
            let error = Pipeline::parse(&json!({"name": "p", "steps": steps}).to_string(), Path::new("")).unwrap_err();
            error.problems().to_vec()
        };
        let most = told(Pipeline::MAX_STEPS);
        assert_eq!(most.len(), 101);
        assert_eq!(most[100].message, "there are more than 100 problems; correct these first");
        let [many] = told(Pipeline::MAX_STEPS + 1).try_into().unwrap();
        assert_eq!(many.message, "steps: there are 1001 steps, but at most 1000 are allowed");
    }

    #[test]
    fn unknown_keys_and_broken_json_are_errors() {
        for text in ["{", r#"{"name": "p", "steps": [], "more": 1}"#, r#"{"name": "p", "steps": []}"#] {
            assert!(Pipeline::parse(text, Path::new("")).is_err(), "{text}");
        }
    }
}
