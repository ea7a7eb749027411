"""The plugin of `echo.py` for cjm-plugin-system and cjm-substrate, whichever the environment has: with the peer's base class, its
one method and its way of cancelling."""

from cjm_plugin import Plain


class Echo(Plain):
    def execute(self, text=None, mark=None):
        if mark is None:
            return {"text": text}
        open(mark, "w").close()
        while True:
            # Without this, only the end of its process stops it.
            self.check_cancel()

    def execute_stream(self, count):
        for n in range(count):
            yield {"n": n}
