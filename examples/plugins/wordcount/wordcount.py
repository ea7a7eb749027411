"""Counts words: a Python plugin without dependencies, and the one that the README shows."""

from collections import Counter


class WordCount:
    def initialize(self, config):
        self.config = {"top": 3, **(config or {})}

    def execute(self, text):
        words = Counter(text.lower().split())
        return {"total": sum(words.values()), "top": words.most_common(self.config["top"])}

    def execute_stream(self, text):
        for n, line in enumerate(text.splitlines(), start=1):
            yield {"line": n, **self.execute(line)}
