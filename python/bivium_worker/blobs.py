"""Blobs: large data that travels as files, never inside the JSON."""

from __future__ import annotations

import os
import stat
import weakref

from .errors import WorkerError

TYPES = {
    ".csv": "text/csv",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".html": "text/html",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".md": "text/markdown",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".npy": "application/x-npy",
    ".npz": "application/x-npz",
    ".ogg": "audio/ogg",
    ".pdf": "application/pdf",
    ".png": "image/png",
    ".srt": "application/x-subrip",
    ".txt": "text/plain",
    ".vtt": "text/vtt",
    ".wav": "audio/wav",
    ".webp": "image/webp",
    ".zip": "application/zip",
}
"""Media types by file name extension, for files that come without one. (The `mimetypes` module reads the machine's
own tables, so that the same plugin would name its results differently on different machines.)"""

OCTETS = "application/octet-stream"


_alive: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class Blob(str):
    """A file, as a `str` that is its path: `open(blob)` and any library that takes a file name just work.

    A blob that came as an argument is lent: it is there until the call ends, and is to be read only. What was opened
    or mapped before stays good after that.
    """

    media_type: str
    size: int

    def __new__(cls, path: str, media_type: str | None = None, size: int | None = None) -> Blob:
        self = super().__new__(cls, os.fspath(path))
        self.media_type = media_type or media_type_of(path)
        self.size = os.stat(path).st_size if size is None else size
        _alive[id(self)] = self
        return self

    @staticmethod
    def alive() -> list[str]:
        """The paths of all blobs that somebody holds: the encoder's hint where a `str` may be one of them."""
        return [blob.path for blob in list(_alive.values())] if _alive else []

    @property
    def path(self) -> str:
        """The path alone."""
        return str.__str__(self)

    def open(self, mode: str = "rb", **options):
        """Opens the file, for reading bytes unless told otherwise."""
        return open(self.path, mode, **options)

    def read_bytes(self) -> bytes:
        """All of it, in memory."""
        with self.open() as file:
            return file.read()

    def mmap(self):
        """A read-only memory map: no copy, and pages are read as they are touched. An empty file gives `b""`."""
        import mmap

        with self.open() as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""

    def numpy(self, dtype=None):
        """A read-only numpy view of the file without a copy: bytes, unless `dtype` says what they are. An `.npy` file
        brings its own shape and type."""
        from . import arrays

        return arrays.numpy_view(self, dtype)

    def torch(self, dtype=None):
        """A torch tensor over the file without a copy, as `numpy()` gives it. What is written to it stays in this
        process, and never reaches the file."""
        from . import arrays

        return arrays.torch_view(self, dtype)


def media_type_of(path: str) -> str:
    """A media type by the file name's extension."""
    return TYPES.get(os.path.splitext(path)[1].lower(), OCTETS)


def handed_back(path: str, exchange: str, media_type: str | None = None) -> dict:
    """How a reply names a result file: relative to the worker's part of the exchange, and nowhere else.

    The host opens it beneath that directory and takes it over: from then on the file is the host's, and read-only.
    This check is for the message; the host trusts none of it.
    """
    real = os.path.realpath(path)
    inside = exchange + os.sep
    if not real.startswith(inside):
        raise WorkerError(
            "denied",
            "the result file %r lies outside the worker's part of the exchange: write it below %s (TMPDIR)"
            % (path, exchange),
        )
    relative = real[len(inside) :]
    try:
        relative.encode("utf-8")
        info = os.stat(real)
    except UnicodeEncodeError:
        raise WorkerError("plugin-failed", "the name of the result file %r is no UTF-8" % path) from None
    except OSError as error:
        check_there(exchange)
        raise WorkerError("plugin-failed", "the result file %r cannot be used: %s" % (path, error.strerror)) from None
    if not stat.S_ISREG(info.st_mode):
        raise WorkerError("plugin-failed", "the result %r is no regular file" % path)
    return {"path": relative, "media_type": media_type or media_type_of(real), "size": info.st_size}


def written(write, suffix: str, exchange: str) -> str:
    """Makes a new file in the worker's part of the exchange, and has `write(file)` fill it."""
    import tempfile

    try:
        fd, path = tempfile.mkstemp(suffix=suffix, dir=exchange)
    except OSError:
        check_there(exchange)
        raise
    try:
        with os.fdopen(fd, "wb") as file:
            write(file)
    except BaseException:
        os.unlink(path)
        raise
    return path


def check_there(exchange: str) -> None:
    """Raises what tells the caller of a call whose directory somebody has removed, a cleaner of temporary files say."""
    try:
        # One that is mounted has its path for as long as the worker lives.
        if os.stat(exchange).st_nlink > 0:
            return
    except OSError:
        pass
    raise WorkerError(
        "not-found",
        "somebody has removed the worker's directory %s, and with it what the call wrote: keep cleaners of temporary files from it"
        % exchange,
    )
