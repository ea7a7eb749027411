"""What every driver of a peer does: takes orders from the benchmark, one JSON object a line on standard input, and answers
each with one JSON object a line.

    {"do": NAME, **ARGUMENTS}  ->  {"samples": {MEASURE: [NUMBER, ...]}}  or  {"error": TEXT}

What a driver or its peer prints goes to standard error.
"""

import asyncio
import inspect
import json
import os
import sys
import traceback


def serve(**commands):
    """Runs until standard input ends. Commands may be coroutine functions: all run on one event loop."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            samples = commands[order.pop("do")](**order)
            if inspect.isawaitable(samples):
                samples = loop.run_until_complete(samples)
            answer = {"samples": samples or {}}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": "%s: %s" % (type(error).__name__, error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
