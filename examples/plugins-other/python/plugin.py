"""Makes slugs from titles, for the paths of web pages: an example of a component in Python.

`componentize-py` builds it, with CPython in it. For heavy packages a Python plugin in a worker is the better choice.
"""

import json
import re

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.guest import Description
from wit_world.imports import host
from wit_world.imports.blobs import Payload
from wit_world.imports.types import Error_InvalidInput, Error_NotFound

SCHEMA = {
    "type": "object",
    "properties": {"separator": {"type": "string", "default": "-", "maxLength": 3}},
    "additionalProperties": False,
}

LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "à": "a", "ç": "c"})

config = {"separator": "-"}


def slug(title):
    plain = title.lower().translate(LETTERS).encode("ascii", "ignore").decode()
    return config["separator"].join(word for word in re.split(r"[^a-z0-9]+", plain) if word)


def titles(method, payload):
    if method != "execute":
        raise Err(Error_NotFound(f"there is no method {method!r}"))
    given = json.loads(payload.json)
    found = given.get("titles", [given.get("title")]) if isinstance(given, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Err(Error_InvalidInput("give a string as `title`, or a list of strings as `titles`"))
    return found


def payload(value):
    return Payload(json=json.dumps(value), blobs=[])


class PayloadStream(exports.guest.PayloadStream):
    """One slug at a time, each made when it is requested."""

    def __init__(self, titles):
        self.titles = iter(titles)

    def next(self):
        title = next(self.titles, None)
        return None if title is None else payload({"slug": slug(title)})


class Guest(exports.Guest):
    def describe(self):
        return Description(name="slug", version="0.1.0", summary="Makes slugs of titles.", methods=[])

    def config_schema(self):
        return json.dumps(SCHEMA)

    def initialize(self, given):
        config["separator"] = (json.loads(given) or {}).get("separator", "-")

    def current_config(self):
        return json.dumps(config)

    def execute(self, method, input):
        slugs = [slug(title) for title in titles(method, input)]
        host.log(host.Level.DEBUG, f"{len(slugs)} slugs")
        return payload({"slugs": slugs})

    def execute_stream(self, method, input):
        return PayloadStream(titles(method, input))

    def cleanup(self):
        pass
