"""The Python plugin of two plugins that do the same, one for each runtime; the component is `tests/guests/twin`."""

import logging
import os

SCHEMA = {
    "type": "object",
    "properties": {
        "greeting": {"type": "string", "default": "hello"},
        "refuse": {"type": "boolean", "default": False, "description": "whether to refuse this configuration"},
    },
    "additionalProperties": False,
}


class Bytes:
    """Something that becomes a blob."""

    media_type = "text/plain"

    def __init__(self, data):
        self.data = data

    def to_temp_file(self):
        import tempfile

        with tempfile.NamedTemporaryFile(suffix=".txt", delete=False) as file:
            file.write(self.data)
        return file.name


class Twin:
    def __init__(self):
        self.config = {"greeting": "hello", "refuse": False}

    def get_config_schema(self):
        return SCHEMA

    def get_current_config(self):
        return self.config

    def initialize(self, config):
        if (config or {}).get("refuse"):
            raise ValueError("asked to refuse")
        self.config = {**self.config, **(config or {})}

    def execute(self, text):
        logging.info("executing %s", text)
        return {"text": "%s %s" % (self.config["greeting"], text)}

    def execute_stream(self, text):
        for n, word in enumerate(text.split()):
            self.report_progress((n + 1) / len(text.split()), word)
            yield {"n": n, "word": word}

    def fail(self):
        raise RuntimeError("asked to fail")

    def crash(self):
        print("about to end", file=__import__("sys").stderr, flush=True)
        os._exit(3)

    def spin(self):
        self.report_progress(0.5, "spinning")
        while True:
            pass

    def patient(self):
        self.report_progress(0.5, "waiting to be cancelled")
        while not self.cancelled():
            pass
        return {"never": "seen"}

    def size(self, data):
        return {"size": os.path.getsize(data), "media_type": data.media_type}

    def upper(self, data):
        with data.open() as file:
            return {"data": Bytes(file.read().upper())}

    def same(self, data):
        return {"data": data}

    def literal(self, value):
        return {"value": value}

    def cleanup(self):
        pass
