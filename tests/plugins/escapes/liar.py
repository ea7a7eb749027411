"""Names the port of another process in its handshake, so that its host would send the token and the arguments there."""

import os

from bivium_worker.channel import Channel

send = Channel.send


def lie(self, event):
    if event.get("event") == "ready":
        event = dict(event, port=int(os.environ["PORT"]))
    return send(self, event)


Channel.send = lie


class Liar:
    def execute(self):
        return "here"
