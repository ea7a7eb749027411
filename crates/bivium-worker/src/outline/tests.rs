use std::path::Path;

use bivium_interface::Manifest;
use serde_json::json;

use super::*;
use crate::manifest::PythonManifest;

struct Source(tempfile::TempDir);

impl Source {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(dir)
    }

    fn outline(&self, module: &str, class: &str) -> Outline {
        let text = json!({"name": "p", "version": "1", "module": module, "class": class, "source": "."});
        outline(&PythonManifest::parse(&text.to_string(), &self.0.path().join("p.json")).unwrap())
    }
}

#[test]
fn what_a_constructor_needs_and_the_manifest_does_not_give_is_known() {
    let text = r#"
from dataclasses import dataclass
import other
class Base:
    def __init__(self, model, *rest, size=1, device, **more): ...
class Inherits(Base): ...
class Decorated:
    @other.given
    def __init__(self, model): ...
@other.given
class Wrapped(Base): ...
@dataclass
class Data:
    model: str
    size: int = 1
    def execute(self): ...
class Free:
    def __init__(self, size=1): ...
class Unknown(other.Thing): ...
class Mixed(other.Thing, Base): ...
"#;
    let source = Source::new(&[("code.py", text)]);
    let lacks = |class: &str, given: serde_json::Value| {
        let text =
            json!({"name": "p", "version": "1", "module": "code", "class": class, "source": ".", "init_args": given});
        outline(&PythonManifest::parse(&text.to_string(), &source.0.path().join("p.json")).unwrap()).lacks
    };
    for class in ["Base", "Inherits"] {
        assert_eq!(lacks(class, json!({})), ["model", "device"]);
        assert_eq!(lacks(class, json!({"device": 1})), ["model"]);
        assert_eq!(lacks(class, json!({"device": 1, "model": null})), [""; 0]);
    }
    assert_eq!(lacks("Data", json!({"size": 2})), ["model"]);
    for class in ["Decorated", "Wrapped", "Free", "Unknown", "Mixed"] {
        assert_eq!(lacks(class, json!({})), [""; 0], "{class}");
    }
}

#[test]
fn what_a_constructor_does_not_take_is_known() {
    let text = r#"
import other
class Takes:
    def __init__(self, model, size=1): ...
class Any:
    def __init__(self, model=1, **more): ...
class Plain:
    def execute(self): ...
class Making(metaclass=other.Maker):
    def __init__(self): ...
class New:
    def __new__(cls, *args, **more): ...
class Unknown(other.Thing): ...
"#;
    let source = Source::new(&[("code.py", text)]);
    let refusal = |class: &str, given: serde_json::Value| {
        let text =
            json!({"name": "p", "version": "1", "module": "code", "class": class, "source": ".", "init_args": given});
        let manifest = PythonManifest::parse(&text.to_string(), &source.0.path().join("p.json")).unwrap();
        outline(&manifest).refusal(&manifest).map(|error| error.message().to_owned())
    };
    for (class, given, said) in [
        (
            "Takes",
            json!({"model": 1, "siez": 2}),
            "its constructor takes no `siez` (did you mean `size`?), which `init_args` gives",
        ),
        ("Takes", json!({"modle": 1}), "its constructor needs `model`, and takes no `modle` (did you mean `model`?)"),
        ("Plain", json!({"zzz": 1}), "its constructor takes no `zzz`, which `init_args` gives"),
    ] {
        assert_eq!(refusal(class, given).as_deref(), Some(said));
    }
    for class in ["Any", "Making", "New", "Unknown"] {
        assert_eq!(refusal(class, json!({"zzz": 1})), None, "{class}");
    }
}

#[test]
fn a_missing_name_is_reported_with_a_suggestion() {
    let source = Source::new(&[
        ("words.py", "from inner import Other as Imported\nclass Words: ...\ndef count(): ...\n"),
        ("inner.py", "class Other: ...\n"),
        ("starred.py", "from words import *\n"),
        ("unknown.py", "from elsewhere import *\n"),
        ("making.py", "globals()['X'] = 1\n"),
        ("made.py", "Plugin = make()\n"),
        ("broken.py", "class (:\n"),
        ("compiled.cpython-311.so", ""),
    ]);
    let absent = |keys: serde_json::Value| {
        let mut text = json!({"name": "p", "version": "1", "source": "."});
        text.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
        outline(&PythonManifest::parse(&text.to_string(), &source.0.path().join("p.json")).unwrap()).absent
    };
    let class = |module: &str, class: &str| absent(json!({"module": module, "class": class}));
    let function = |function: &str| absent(json!({"function": function}));
    let dir = source.0.path().display().to_string();
    for (found, said) in [
        (class("words", "Wrods"), "class: the module words has no class Wrods; did you mean `Words`?"),
        (class("words", "Importd"), "class: the module words has no class Importd; did you mean `Imported`?"),
        (class("starred", "Zzz"), "class: the module starred has no class Zzz"),
        (
            class("words", "count"),
            "class: count in the module words is a function: write `\"function\": \"words:count\"` in place of `module` and `class`",
        ),
        (
            function("words:Words"),
            "function: Words in the module words is a class: write `\"module\": \"words\", \"class\": \"Words\"` in place of `function`",
        ),
        (function("words:cuont"), "function: the module words has no function cuont; did you mean `count`?"),
        (class("wrods", "Words"), &format!("module: the module wrods is not in {dir}; did you mean `words`?")),
        (class("words.py", "Words"), "module: words.py is the name of a file: write the name of the module, `words`"),
        (class("package.none", "X"), &format!("module: the module package.none is not in {dir}")),
    ] {
        assert_eq!(found.as_deref(), Some(said));
    }
    for (module, name) in [("unknown", "X"), ("making", "Y"), ("made", "Plugin"), ("broken", "X"), ("compiled", "X")] {
        assert_eq!(class(module, name), None, "{module}");
    }
    assert_eq!(absent(json!({"module": "none", "class": "X", "requirements": ["none"]})), None);
}

/// Each method as `NAME DESCRIPTION`.
fn methods(outline: &Outline) -> Vec<String> {
    let methods = outline.methods.as_ref().unwrap_or_else(|| panic!("{outline:?}"));
    let told = |method: &MethodInfo| {
        let doc = if method.description.is_empty() { String::new() } else { format!(": {}", method.description) };
        format!("{}{}{doc}", method.name, method.signature)
    };
    methods.iter().map(told).collect()
}

#[test]
fn a_class_is_read_with_its_signatures_and_first_lines() {
    let text = r#"
import os, sys
os.system("touch ran")
class Other:
    def other(self): pass
class Plugin:
    """A plugin."""
    field = 1
    def __init__(self): pass
    def _hidden(self): pass
    def initialize(self, config=None): pass
    def execute(self, text: str, *, times: int = 1, **more) -> dict[str, int]:
        """
        Counts words.

        More of it.
        """
    async def later(self,
                    a,  # the first
                    b=(1, 2),
                    /): 'Waits.'
    @staticmethod
    def free(x): ...
    @classmethod
    def of(cls, x): ...
    @property
    def size(self): ...
    @size.setter
    def size(self, value): ...
    @functools.cached_property
    def cached(self): ...
    @decorated(1, "x")
    def wrapped(self): r"Raw\d."
    lam = lambda self: 1
    class Inner:
        def inner(self): ...
"#;
    let source = Source::new(&[("m.py", text)]);
    let outline = source.outline("m", "Plugin");
    assert_eq!(
        methods(&outline),
        [
            "execute(text: str, *, times: int = 1, **more) -> dict[str, int]: Counts words.",
            "free(x)",
            "later(a, b=(1, 2), /): Waits.",
            "of(x)",
            "wrapped(): Raw\\d.",
        ]
    );
    assert_eq!(outline.notes, [""; 0]);
    assert_eq!(outline.file.as_deref(), Some(source.0.path().join("m.py").as_path()));
    assert!(!Path::new("ran").exists() && !source.0.path().join("ran").exists());
}

#[test]
fn a_class_is_found_through_imports_and_has_what_it_derives_from() {
    let source = Source::new(&[
        ("package/__init__.py", "from .inner.impl import Real as Plugin\nfrom elsewhere import Base\n"),
        ("package/base.py", "class Base:\n    def common(self, a): ...\n    def execute(self): ...\n"),
        ("package/inner/__init__.py", ""),
        (
            "package/inner/impl.py",
            "try:\n    from ..base import Base\nexcept ImportError:\n    pass\n\
             if True:\n    class Real(Base, Unknown, abc.ABC, Generic[T], metaclass=M):\n        def execute(self, b): ...\n",
        ),
    ]);
    let outline = source.outline("package", "Plugin");
    assert_eq!(methods(&outline), ["common(a)", "execute(b)"]);
    assert_eq!(outline.notes, ["it derives from Unknown, whose methods are not known without running it"]);
    assert!(outline.file.unwrap().ends_with("package/inner/impl.py"));
}

#[test]
fn a_class_is_found_through_modules_stars_and_other_names() {
    let class = "class Real:\n    def execute(self, x): ...\n";
    for files in [
        [("m.py", "import inner.impl\nPlugin = inner.impl.Real\n"), ("inner/impl.py", class)],
        [("m.py", "import inner.impl as other\nPlugin = other.Real\n"), ("inner/impl.py", class)],
        [("m.py", "from inner import impl\nclass Plugin(impl.Real): ...\n"), ("inner/impl.py", class)],
        [("m.py", "from inner import *\nPlugin = Real\n"), ("inner.py", class)],
        [("m.py", "if True:\n    from inner import *\nclass Plugin(Real): ...\n"), ("inner.py", class)],
    ] {
        let source = Source::new(&files);
        let outline = source.outline("m", "Plugin");
        assert_eq!(methods(&outline), ["execute(x)"], "{files:?}");
        assert_eq!(outline.notes, [""; 0]);
    }
    let round = Source::new(&[("m.py", "from n import *\nA = B\nB = A\n"), ("n.py", "from m import *\n")]);
    assert!(round.outline("m", "A").methods.is_none());
}

#[test]
fn parameters_have_schemas() {
    let text = r#"
import pydantic, dataclasses
from typing import *
from pydantic import BaseModel, Field

class Point(BaseModel):
    x: int
    y: int = Field(default=0, description="How high.")
    tags: "list[str]" = Field(default_factory=list)
    inner: Optional["Point"] = None

class Far(Point):
    z: float = Field(..., gt=1)

@dataclasses.dataclass(frozen=True)
class Size:
    """A size.

    Attributes:
        width: How wide.
    """
    width: float
    shared: ClassVar[int] = 1
    made: int = dataclasses.field(init=False)

class Plugin:
    def execute(self, far: Far, size: Size | None = None, *, n: int = -0x10, big=18446744073709551616, a: float = 1_0.5,
                b: Annotated[str, Field(description="Said.")] = "x\ty", c: Unknown[int] = nothing(), d: np.ndarray = None):
        """Does.

        :param n: How often.
        """
    def wide(self, x: Literal["a", 1, None], *more: int, **rest: Dict[str, Any]) -> Iterator[Union[int, str]]: yield
"#;
    let source = Source::new(&[("m.py", text)]);
    let found = source.outline("m", "Plugin").methods.unwrap();
    let properties = &found[0].parameters.as_ref().unwrap()["properties"];
    let far = json!({"type": "object", "title": "Far", "properties": {
        "x": {"type": "integer"},
        "y": {"type": "integer", "description": "How high.", "default": 0},
        "tags": {"type": "array", "items": {"type": "string"}},
        "inner": {"anyOf": [{"type": "object", "title": "Point", "properties": {
            "x": {"type": "integer"},
            "y": {"type": "integer", "description": "How high.", "default": 0},
            "tags": {"type": "array", "items": {"type": "string"}},
            "inner": {"anyOf": [{"$comment": "Point"}, {"type": "null"}], "default": null}},
            "required": ["x"]}, {"type": "null"}], "default": null},
        "z": {"type": "number"}},
        "required": ["x", "z"]});
    assert_eq!(properties["far"], far);
    let size = json!({"type": "object", "title": "Size", "required": ["width"],
        "properties": {"width": {"type": "number", "description": "How wide."}}});
    let expected = json!({
        "far": far,
        "size": {"anyOf": [size, {"type": "null"}], "default": null},
        "n": {"type": "integer", "description": "How often."},
        "big": {},
        "a": {"type": "number", "default": 10.5},
        "b": {"type": "string", "description": "Said.", "default": "x\ty"},
        "c": {"$comment": "Unknown"},
        "d": {"$comment": "np.ndarray", "default": null},
    });
    assert_eq!(*properties, expected);
    assert_eq!(found[0].parameters.as_ref().unwrap()["required"], json!(["far"]));
    let wide = json!({"type": "object", "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"x": {"enum": ["a", 1, null]}}, "required": ["x"], "additionalProperties": {"type": "object"}});
    assert_eq!((&found[1].parameters, found[1].streams), (&Some(wide), true));
    assert_eq!(found[1].returns, Some(json!({"anyOf": [{"type": "integer"}, {"type": "string"}]})));
}

#[test]
fn a_file_is_a_blob_or_a_path_unless_the_name_is_a_class_of_the_plugins_own() {
    let text = r#"
import os, pathlib
from pathlib import Path
class Blob: ...
class Plugin:
    def execute(self, a: Path, b: "os.PathLike[str] | None", c: str | pathlib.Path, d: Blob, e: bytes) -> Path:
        """Reads.

        :param a: What is read.
        """
"#;
    let source = Source::new(&[("m.py", text)]);
    let found = source.outline("m", "Plugin").methods.unwrap().remove(0);
    let blob = json!({"type": "object", "properties": {"$blob": {"type": "integer", "minimum": 0}}, "required": ["$blob"],
        "description": "a file"});
    let expected = json!({
        "a": {"anyOf": [blob, {"type": "string"}], "description": "What is read."},
        "b": {"anyOf": [blob, {"type": "string"}, {"type": "null"}]},
        "c": {"anyOf": [{"type": "string"}, blob]},
        "d": {"$comment": "Blob"},
        "e": blob,
    });
    assert_eq!(found.parameters.unwrap()["properties"], expected);
    assert_eq!(found.returns, Some(blob));
}

#[test]
fn what_only_streams_is_read_as_execute() {
    let text = "class Base:\n    def execute_stream(self, text: str):\n        'Lines.'\n        yield text\nclass Only(Base):\n    def a(self): ...\n";
    let source = Source::new(&[("m.py", text)]);
    let outline = source.outline("m", "Only");
    assert_eq!(methods(&outline), ["a()", "execute(text: str): Lines."]);
    let execute = &outline.methods.unwrap()[1];
    assert!(execute.streams && !execute.also_runs);
    let both = "class Both:\n    def execute(self): return 1\n    def execute_stream(self): yield 1\n";
    let source = Source::new(&[("m.py", both)]);
    let execute = source.outline("m", "Both").methods.unwrap().remove(0);
    assert!(execute.streams && execute.also_runs);
}

#[test]
fn a_function_is_read_as_execute() {
    let source = Source::new(&[
        ("m.py", "from inner import helper as detect\nclass C:\n    @staticmethod\n    def of(x): 'Makes.'\n"),
        ("inner.py", "def helper(text, n=1) -> str:\n    \"\"\"Finds.\"\"\"\n"),
    ]);
    let outline = |function: &str| {
        let text = json!({"name": "p", "version": "1", "function": function, "source": "."});
        outline(&PythonManifest::parse(&text.to_string(), &source.0.path().join("p.json")).unwrap())
    };
    let found = outline("m:detect");
    assert_eq!(methods(&found), ["execute(text, n=1) -> str: Finds."]);
    assert!(found.file.unwrap().ends_with("inner.py"));
    assert_eq!(methods(&outline("m:C.of")), ["execute(x): Makes."]);
    for (function, note) in [
        ("m:C", "C in the module m is a class"),
        ("m:none", "the module m has no function none"),
        ("m:C.none", "no function C.none is defined in the module m"),
    ] {
        let found = outline(function);
        assert!(found.methods.is_none() && found.notes[0].starts_with(note), "{:?}", found.notes);
    }
    let named = |object: &str| {
        super::outline(&PythonManifest::sure(Manifest::of_python(&source.0.path().join("m.py"), object).unwrap()))
    };
    assert_eq!(methods(&named("detect")), ["execute(text, n=1) -> str: Finds."]);
    assert_eq!(methods(&named("C")), ["of(x): Makes."]);
}

#[test]
fn what_is_missing_is_reported() {
    let source = Source::new(&[("m.py", "Plugin = make()\n"), ("round.py", "from round import Plugin\n")]);
    for (module, class, note) in [
        ("m", "Plugin", "no class Plugin is defined in the module m, as far as can be seen without running it"),
        ("round", "Plugin", "no class Plugin is defined in the module round"),
        ("none", "Plugin", "the module none is not in "),
        ("m.sub", "Plugin", "the module m.sub is not in "),
    ] {
        let outline = source.outline(module, class);
        assert!(outline.methods.is_none());
        assert!(outline.notes[0].starts_with(note), "{:?}", outline.notes);
    }
    let text = json!({"name": "p", "version": "1", "module": "x", "class": "X", "requirements": ["x"]});
    let outline = outline(&PythonManifest::parse(&text.to_string(), Path::new("/m/p.json")).unwrap());
    assert!(outline.notes[0].contains("at the first load"), "{:?}", outline.notes);
}

#[test]
fn a_class_in_an_environment_is_found_there() {
    let source = Source::new(&[
        ("venv/bin/python", "#!/bin/sh\ntouch ran\n"),
        ("venv/lib/python3.11/site-packages/m.py", "class Plugin:\n    def execute(self, x): ...\n"),
    ]);
    let text = json!({"name": "p", "version": "1", "module": "m", "class": "Plugin", "python_path": "venv/bin/python"});
    let outline = outline(&PythonManifest::parse(&text.to_string(), &source.0.path().join("p.json")).unwrap());
    assert_eq!(methods(&outline), ["execute(x)"]);
}

#[test]
fn hostile_sources_end_soon_and_break_nothing() {
    let deep = |open: &str, close: &str, n: usize| format!("x = {}{}\n", open.repeat(n), close.repeat(n));
    let class = "class Plugin:\n    def execute(self): ...\n";
    let endless_bases: String = (0..5000).map(|n| format!("class C{n}(C{}): ...\n", n + 1)).collect();
    let many: String = (0..20_000).map(|n| format!("    def m{n}(self): ...\n")).collect();
    for text in [
        format!("{}{class}", deep("(", ")", 100_000)),
        format!("{}{class}", deep("[", "", 100_000)),
        format!("{class}{}", "if x:\n ".repeat(1000)),
        format!("{class}{}", "\u{0}".repeat(1000)),
        format!("{}\n{class}", "lambda: ".repeat(50_000)),
        format!("{endless_bases}class Plugin(C0): ...\n"),
        format!("class Plugin:\n{many}"),
        "class Plugin(Plugin): ...\n".to_owned(),
        format!("class Plugin:\n    def execute(self, {}): ...\n", "a, ".repeat(100_000)),
        "{".repeat(1 << 20),
        "\u{feff}\u{202e}class Plugin: ...".to_owned(),
        format!("f'{}'", "{f\"".repeat(10_000)),
    ] {
        let source = Source::new(&[("m.py", &text)]);
        let start = std::time::Instant::now();
        let outline = source.outline("m", "Plugin");
        assert!(start.elapsed().as_secs() < 10, "{:?}: {:.50}", start.elapsed(), text);
        assert!(outline.methods.is_some() || !outline.notes.is_empty(), "{text:.50}");
        assert!(outline.methods.unwrap_or_default().iter().all(|method| method.signature.chars().count() < 2000));
    }
    let long = "#".repeat(5 << 20);
    assert!(Source::new(&[("m.py", &long)]).outline("m", "P").notes[0].contains("longer than 4 MiB"));
}
