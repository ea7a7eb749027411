//! [`CheckedText`]: checks other JSON files that users write, in the same way as manifests.

use serde_json::Value;

use super::fit;
use super::node::{Kind, Node};
use super::problems::Problems;
use crate::{Problem, head};

/// The longest place in a problem, in bytes.
const MOST_PLACE: usize = 200;
/// The longest message of a problem, in bytes.
const MOST_MESSAGE: usize = 2000;

/// JSON text with the line of each value, and the places where it does not fit a schema.
pub struct CheckedText {
    root: Node,
    problems: Problems,
}

impl CheckedText {
    /// Reads text and checks it against a schema that `schemars` made from a type. `what` names the kind of document in messages, for
    /// example `a pipeline`.
    ///
    /// # Errors
    /// The place of the syntax error, if the text is not JSON.
    pub fn read(text: &str, schema: &Value, what: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        let Some(root) = Node::read(text.strip_prefix('\u{feff}').unwrap_or(text), &mut problems) else {
            return Err(problems.into_list());
        };
        fit::check_as(&root, schema, what, &mut problems);
        Ok(Self { root, problems })
    }

    /// Whether the text fits the schema.
    #[must_use]
    pub fn is_fit(&self) -> bool {
        self.problems.is_empty()
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> Value {
        self.root.clone().into_value()
    }

    /// The places where the text does not fit, together with `more` problems at JSON Pointers; a hundred at most. Each has its line and its
    /// place in a readable form. They are in the order of the file. For an unknown key, the most similar known key is named.
    #[must_use]
    pub fn problems(&self, more: &[Problem]) -> Vec<Problem> {
        let mut all = self.problems.clone();
        for problem in more {
            let place =
                problem.location.trim_start_matches('/').replace('/', ".").replace("~1", "/").replace("~0", "~");
            let colon = if place.is_empty() { "" } else { ": " };
            let (place, message) = (bounded(&place, MOST_PLACE), bounded(&problem.message, MOST_MESSAGE));
            all.add(self.line(&problem.location), format!("{place}{colon}{message}"));
        }
        all.into_list()
    }

    /// The line of the value at a JSON Pointer. If there is none, that of the closest value above it.
    fn line(&self, pointer: &str) -> usize {
        let (mut node, mut line) = (&self.root, self.root.line);
        for part in pointer.split('/').skip(1) {
            let key = part.replace("~1", "/").replace("~0", "~");
            let next = match &node.kind {
                Kind::Object(entries) => {
                    entries.iter().find(|entry| entry.key == key).map(|entry| (entry.line, &entry.value))
                }
                Kind::Array(items) => key.parse().ok().and_then(|n: usize| items.get(n)).map(|item| (item.line, item)),
                _ => None,
            };
            let Some(found) = next else { break };
            (line, node) = found;
        }
        line
    }
}

/// The beginning of a text, which may be as long as its file.
fn bounded(text: &str, most: usize) -> String {
    let dots = if text.len() > most { "…" } else { "" };
    format!("{}{dots}", head(text, most))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_value_at_a_pointer_has_a_line() {
        let text = "{\n  \"a\": [\n    1,\n    {\"b/c\": 2}\n  ]\n}";
        let checked = CheckedText::read(text, &json!({}), "a test").ok().unwrap();
        for (pointer, line) in
            [("", 1), ("/a", 2), ("/a/0", 3), ("/a/1/b~1c", 4), ("/a/1/none/deeper", 4), ("/none", 1)]
        {
            assert_eq!(checked.line(pointer), line, "{pointer}");
        }
        let problems = [Problem::new("/a/1/b~1c", "is two"), Problem::new("/a/0", "is one")];
        let located: Vec<String> = checked.problems(&problems).iter().map(ToString::to_string).collect();
        assert_eq!(located, ["line 3: a.0: is one", "line 4: a.1.b/c: is two"]);
        assert_eq!(checked.value(), json!({"a": [1, {"b/c": 2}]}));
        let schema = json!({"type": "object", "additionalProperties": false, "properties": {"steps": {}}});
        let long = Problem::new(format!("/a/{}", "x".repeat(1 << 20)), "y".repeat(1 << 20));
        assert!(checked.problems(&[long])[0].message.len() < 2300);
        let unfit = CheckedText::read("{\n\"stesp\": 1,\n\"a\": 2}", &schema, "a test").ok().unwrap();
        let all: Vec<String> = unfit.problems(&[Problem::new("", "is odd")]).iter().map(ToString::to_string).collect();
        assert!(!unfit.is_fit() && all[0] == "line 1: is odd", "{all:?}");
        assert_eq!(all[1], "line 2: unknown key \"stesp\"; did you mean `steps`?");
        let number = CheckedText::read("7", &schema, "a test").ok().unwrap();
        assert!(number.problems(&[])[0].message.contains("a test must be an object"));
        assert_eq!(CheckedText::read("{", &schema, "a test").err().unwrap().len(), 1);
    }
}
