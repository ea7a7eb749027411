"""Blobs: large data that is passed as files, never inside the JSON."""

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
"""Media types by file name extension, for files without a given type. (The `mimetypes` module reads tables of the machine,
so the same result would have different types on different machines.)"""

OCTETS = "application/octet-stream"


_alive: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class Blob(str):
    """A file, as a `str` that is its path: `open(blob)` works, and so does every library that takes a file name.

    A blob that is an argument exists until the call ends, and must only be read. A file that was opened
    or mapped before stays usable after that.
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
        """The paths of all blobs that still exist: if a result contains one of them as text, it may be a blob."""
        return [blob.path for blob in list(_alive.values())] if _alive else []

    @property
    def path(self) -> str:
        """The path alone."""
        return str.__str__(self)

    def open(self, mode: str = "rb", **options):
        """Opens the file, by default to read bytes."""
        return open(self.path, mode, **options)

    def read_bytes(self) -> bytes:
        """Reads the whole file into memory."""
        with self.open() as file:
            return file.read()

    def mmap(self):
        """A read-only memory map: nothing is copied, and pages are read when they are used. For an empty file `b""`."""
        import mmap

        with self.open() as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""

    def numpy(self, dtype=None):
        """A read-only numpy view of the file without a copy, of type `dtype` (default: bytes). An `.npy` file
        has a shape and a type of its own."""
        from . import arrays

        return arrays.numpy_view(self, dtype)

    def torch(self, dtype=None):
        """A torch tensor over the file without a copy, as with `numpy()`. Writes to it stay in this
        process, and never reach the file."""
        from . import arrays

        return arrays.torch_view(self, dtype)


def media_type_of(path: str) -> str:
    """A media type by the file name's extension."""
    return TYPES.get(os.path.splitext(path)[1].lower(), OCTETS)


def handed_back(path: str, exchange: str, media_type: str | None = None) -> dict:
    """The entry of a result file in a reply: its path relative to the worker's part of the exchange. It must lie there.

    The host opens it beneath that directory and takes it over: from then on the file belongs to the host and is read-only.
    The checks here are for good error messages; the host checks everything itself.
    """
    real = os.path.realpath(path)
    inside = exchange + os.sep
    if not real.startswith(inside):
        raise WorkerError(
            "denied",
            "the result file %r is outside the worker's part of the exchange: write it below %s (TMPDIR)"
            % (path, exchange),
        )
    relative = real[len(inside) :]
    try:
        relative.encode("utf-8")
        info = os.stat(real)
    except UnicodeEncodeError:
        raise WorkerError("plugin-failed", "the name of the result file %r is not valid UTF-8" % path) from None
    except OSError as error:
        check_there(exchange)
        raise WorkerError("plugin-failed", "the result file %r cannot be used: %s" % (path, error.strerror)) from None
    if not stat.S_ISREG(info.st_mode):
        raise WorkerError("plugin-failed", "the result %r is not a regular file" % path)
    return {"path": relative, "media_type": media_type or media_type_of(real), "size": info.st_size}


def written(write, suffix: str, exchange: str) -> str:
    """Makes a new file in the worker's part of the exchange, calls `write(file)` to fill it, and returns its path."""
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
    """Raises `not-found` if the worker's directory was removed, for example by a program that deletes temporary files."""
    try:
        # A mounted directory keeps its path; that it was removed shows in its link count.
        if os.stat(exchange).st_nlink > 0:
            return
    except OSError:
        pass
    raise WorkerError(
        "not-found",
        "the worker's directory %s was removed, with the files of the call: exclude it from cleaners of temporary files"
        % exchange,
    )
