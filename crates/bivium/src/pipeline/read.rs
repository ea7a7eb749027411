//! Reading a pipeline, with every problem reported at once.

use std::collections::BTreeSet;
use std::path::Path;

use bivium_interface::{PluginError, Problem, Result, exact};
use serde_json::Value;

use super::template::{Place, places};
use super::{Pipeline, Step};

impl Pipeline {
    /// The largest pipeline file, in bytes: a thousand steps take a tenth of it.
    const MAX_BYTES: u64 = 1 << 20;

    /// Reads a pipeline file.
    ///
    /// # Errors
    /// `not-found` if the file is not there; `invalid-input` listing everything that is wrong with it.
    pub fn read(path: &Path) -> Result<Self> {
        let cannot = |error: &std::io::Error| format!("cannot read the pipeline {}: {error}", path.display());
        let metadata = path.metadata().map_err(|error| PluginError::not_found(cannot(&error)))?;
        if metadata.len() > Self::MAX_BYTES {
            return Err(PluginError::invalid_input(format!("the pipeline {} is over 1 MiB", path.display())));
        }
        let text = std::fs::read_to_string(path).map_err(|error| PluginError::invalid_input(cannot(&error)))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        Self::parse(&text, dir).map_err(|error| {
            let problems = error.problems().to_vec();
            PluginError::invalid_input(format!("{}: {}", path.display(), error.message())).with_problems(problems)
        })
    }

    /// Reads a pipeline from text; its files are relative to `dir`.
    ///
    /// # Errors
    /// `invalid-input` listing everything that is wrong with it.
    pub fn parse(text: &str, dir: &Path) -> Result<Self> {
        let mut pipeline: Self = exact::from_str(text)
            .map_err(|error| PluginError::invalid_input(format!("not a valid pipeline: {error}")))?;
        dir.clone_into(&mut pipeline.dir);
        let problems = pipeline.problems();
        if problems.is_empty() {
            return Ok(pipeline);
        }
        Err(PluginError::invalid_input("not a valid pipeline").with_problems(problems))
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut report = |location: String, message: String| problems.push(Problem { location, message });
        if self.steps.is_empty() {
            report("/steps".to_owned(), "there must be at least one step".to_owned());
        }
        for (name, input) in &self.inputs {
            if input.default.is_some() && input.file.is_some() {
                report(format!("/inputs/{name}"), "has both a default and a file".to_owned());
            }
        }
        for name in self.configs.keys().filter(|name| !self.steps.iter().any(|step| step.plugin == **name)) {
            report(format!("/configs/{name}"), "no step calls a plugin of this name".to_owned());
        }
        let mut before: Vec<&Step> = Vec::new();
        for (n, step) in self.steps.iter().enumerate() {
            let at = format!("/steps/{n}");
            if step.id.is_empty() || step.id.contains('/') || ["inputs", "item"].contains(&step.id.as_str()) {
                report(format!("{at}/id"), format!("{:?} cannot be the id of a step", step.id));
            }
            if before.iter().any(|earlier| earlier.id == step.id) {
                report(format!("{at}/id"), format!("{:?} is the id of an earlier step too", step.id));
            }
            if let Some(Err(message)) = step.for_each.as_ref().map(|list| self.check_list(list, &before)) {
                report(format!("{at}/for_each"), message);
            }
            let known: BTreeSet<&str> = before.iter().map(|earlier| earlier.id.as_str()).collect();
            for (name, template) in &step.args {
                let item = step.for_each.is_some();
                self.check_places(template, &known, item, |message| report(format!("{at}/args/{name}"), message));
            }
            before.push(step);
        }
        let known: BTreeSet<&str> = before.iter().map(|earlier| earlier.id.as_str()).collect();
        for (name, template) in &self.outputs {
            self.check_places(template, &known, false, |message| report(format!("/outputs/{name}"), message));
        }
        problems
    }

    /// Whether a list can lie at the place that a step runs `for_each` of.
    fn check_list(&self, place: &str, before: &[&Step]) -> Result<(), String> {
        let Place { source, pointer } = Place::parse(place);
        if source == "inputs" {
            let name = pointer.split('/').nth(1).unwrap_or_default();
            return if self.inputs.contains_key(name) {
                Ok(())
            } else {
                Err(format!("{name:?} is no input of the pipeline"))
            };
        }
        match before.iter().find(|earlier| earlier.id == source) {
            Some(earlier) if earlier.has_list() || !pointer.is_empty() => Ok(()),
            Some(_) => Err(format!("step {source:?} has one result, not a list; name a list in it: {source}/…")),
            None => Err(format!("{source:?} is no earlier step")),
        }
    }

    fn check_places(&self, template: &Value, known: &BTreeSet<&str>, item: bool, mut report: impl FnMut(String)) {
        places(template, &mut |place| match place {
            Err(message) => report(message),
            Ok(place) => match place.source {
                "item" if item => {}
                "item" => report("there is an item only in a step with `for_each`".to_owned()),
                "inputs" => {
                    let name = place.pointer.split('/').nth(1).unwrap_or_default();
                    if !self.inputs.contains_key(name) {
                        report(format!("{name:?} is no input of the pipeline"));
                    }
                }
                source if known.contains(source) => {}
                source => report(format!("{source:?} is no earlier step")),
            },
        });
    }
}

impl Step {
    /// Whether its result is a list.
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
            {"id": "three", "plugin": "x", "args": {"v": {"$from": "four"}, "w": {"$from": 1}}}],
            "outputs": {"o": {"$from": "five"}}}"#;
        let error = Pipeline::parse(text, Path::new("")).unwrap_err();
        let locations: Vec<_> = error.problems().iter().map(|problem| problem.location.as_str()).collect();
        let expected = [
            "/configs/z",
            "/steps/0/args/v",
            "/steps/0/args/w",
            "/steps/1/id",
            "/steps/1/for_each",
            "/steps/2/args/v",
            "/steps/2/args/w",
            "/outputs/o",
        ];
        assert_eq!(locations, expected);
    }

    #[test]
    fn unknown_keys_and_broken_json_are_errors() {
        for text in ["{", r#"{"name": "p", "steps": [], "more": 1}"#, r#"{"name": "p", "steps": []}"#] {
            assert!(Pipeline::parse(text, Path::new("")).is_err(), "{text}");
        }
    }
}
