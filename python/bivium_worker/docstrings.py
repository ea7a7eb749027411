"""Finds what a docstring says about each parameter, in the three common styles.

`Args:` with indented entries (Google), `Parameters` underlined (NumPy), `:param NAME:` (Sphinx). The host reads sources by the same
rules (`crates/bivium-worker/src/outline/docstring.rs`): change both together.
"""

from __future__ import annotations

import re

SECTIONS = (
    *("args", "arguments", "parameters", "params", "keyword args", "keyword arguments", "other parameters", "attributes"),
)
LONGEST = 500
"""How many characters of one description are kept."""

FIELD = re.compile(r":(?:param|parameter|arg|argument|key|keyword)\s(?:.*\s)?\*{0,2}(\w+)\s*:(.*)")
ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\(.*?\))?\s*:(.*)")


def parameters(doc: str) -> dict[str, str]:
    """The description of each parameter by name, each on one line. `doc` has the indentation of its source removed."""
    reader = Reader()
    lines = [line.expandtabs() for line in doc.splitlines()]
    for line, following in zip(lines, lines[1:] + [""]):
        reader.line(line.strip(), len(line) - len(line.lstrip()), following.strip())
    return {name: " ".join(words)[:LONGEST] for name, words in reader.found.items() if words}


class Reader:
    """Goes through the lines of one docstring."""

    def __init__(self) -> None:
        self.found: dict[str, list[str]] = {}
        self._names: list[str] = []
        """The parameters that the next words describe."""
        self._form = ""
        self._indent = 0
        """The indentation of the section's heading, or of the field."""
        self._entries = 0
        """The indentation of the entries in a section with indented entries; 0 before the first."""

    def line(self, text: str, indent: int, following: str) -> None:
        """Takes the next line."""
        field = FIELD.fullmatch(text)
        if field is not None:
            self._form, self._indent = "field", indent
            self._begin([field[1]], field[2])
        elif not text:
            if self._form == "field":
                self._names = []
        elif text.endswith(":") and text[:-1].strip().lower() in SECTIONS:
            self._form, self._indent, self._entries, self._names = "indented", indent, 0, []
        elif is_rule(following):
            self._form, self._indent, self._names = "", indent, []
            if text.lower() in SECTIONS:
                self._form = "underlined"
        elif self._form == "indented" and indent > self._indent:
            if self._entries and indent > self._entries:
                self._more(text)
                return
            self._entries = indent
            entry = ENTRY.fullmatch(text)
            self._begin([entry[1]] if entry is not None else [], entry[2] if entry is not None else "")
        elif self._form == "underlined":
            if indent > self._indent:
                self._more(text)
            elif not is_rule(text):
                names = [name.strip().lstrip("*") for name in text.partition(":")[0].split(",")]
                self._begin(names if all(name.isidentifier() for name in names) else [], "")
        elif self._form == "field" and indent > self._indent:
            self._more(text)
        else:
            self._form, self._names = "", []

    def _begin(self, names: list[str], text: str) -> None:
        self._names = names
        for name in names:
            self.found[name] = []
        self._more(text)

    def _more(self, text: str) -> None:
        for name in self._names:
            self.found[name] += text.split()


def is_rule(text: str) -> bool:
    """Whether a line underlines the one before."""
    return len(text) > 2 and not text.strip("-")
