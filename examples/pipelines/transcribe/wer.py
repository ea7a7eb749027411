#!/usr/bin/env python3
"""Word error rate: how much of a reference text was heard wrong.

    python3 wer.py REFERENCE HYPOTHESIS

Both are text files. Prints {"wer", "words", "errors"} as JSON: `errors` is the least number of words to insert, delete
or replace to change one text into the other, `words` the length of the reference. Case and punctuation do not count.
"""

from __future__ import annotations

import json
import re
import sys


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """The edit distance between two lists of words."""
    row = list(range(len(hypothesis) + 1))
    for deleted, wanted in enumerate(reference, 1):
        diagonal, row[0] = row[0], deleted
        for column, heard in enumerate(hypothesis, 1):
            replaced = diagonal + (wanted != heard)
            diagonal = row[column]
            row[column] = min(replaced, row[column] + 1, row[column - 1] + 1)
    return row[-1]


def compare(reference: str, hypothesis: str) -> dict[str, float]:
    """The program's output for two texts. Raises `ValueError` for a reference without words, which has no rate."""
    wanted = words_of(reference)
    if not wanted:
        raise ValueError("the reference has no words")
    errors = word_errors(wanted, words_of(hypothesis))
    return {"wer": round(errors / len(wanted), 4), "words": len(wanted), "errors": errors}


def main() -> int:
    """Returns the exit status: 2 if the arguments cannot be used."""
    if len(sys.argv) != 3:
        print("usage: wer.py REFERENCE HYPOTHESIS", file=sys.stderr)
        return 2
    try:
        texts = []
        for path in sys.argv[1:]:
            with open(path, encoding="utf-8") as file:
                texts.append(file.read())
        print(json.dumps(compare(*texts)))
    except (OSError, ValueError) as error:
        print(f"wer.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
