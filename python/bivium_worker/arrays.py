"""Arrays of numpy and torch: views of a blob's file for arguments, `.npy` files for results.

The worker never imports these libraries by itself: for an argument the plugin asks for a view, and a result can only be an
array if its library is loaded already.
"""

from __future__ import annotations

import os
import sys

NPY = "application/x-npy"


def needed(name: str):
    """Imports the library, or raises an error that says how to install it."""
    from importlib import import_module

    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ModuleNotFoundError(
            "Blob.%s() needs %s, which is not in the plugin's environment (%s): add it to the manifest's "
            "`requirements`, or install it there" % (name, name, sys.executable),
            name=name,
        ) from None


def numpy_view(blob, dtype=None, mode: str = "r"):
    """The file as a numpy array, mapped: read-only (`r`), or with writes that stay in this process (`c`)."""
    numpy = needed("numpy")
    if blob.media_type == NPY or blob.endswith(".npy"):
        array = mapped(numpy, blob.path, mode)
        if dtype is not None and array.dtype != numpy.dtype(dtype):
            raise TypeError(
                "%s holds an array of %s, not of %s: leave the dtype out, and convert by astype()"
                % (blob.path, array.dtype, numpy.dtype(dtype))
            )
        return array
    dtype = numpy.uint8 if dtype is None else dtype
    if os.path.getsize(blob.path) == 0:
        return numpy.empty(0, dtype=dtype)
    return numpy.memmap(blob.path, dtype=dtype, mode=mode)


def mapped(numpy, path: str, mode: str):
    """An `.npy` file, mapped. (`numpy.load` would also accept archives and pickles.)"""
    with open(path, "rb") as file:
        version = numpy.lib.format.read_magic(file)
        read = numpy.lib.format.read_array_header_1_0 if version == (1, 0) else numpy.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if 0 in shape and not dtype.hasobject:
        return numpy.empty(shape, dtype)  # some versions of numpy cannot map an empty array
    return numpy.lib.format.open_memmap(path, mode=mode)


def torch_view(blob, dtype=None):
    """The file as a tensor, mapped; writes stay in this process."""
    torch = needed("torch")
    if blob.media_type == NPY or blob.endswith(".npy"):
        tensor = torch.from_numpy(numpy_view(blob, mode="c"))
        if dtype is not None and tensor.dtype != dtype:
            raise TypeError(
                "%s holds a tensor of %s, not of %s: leave the dtype out, and convert by to()"
                % (blob.path, tensor.dtype, dtype)
            )
        return tensor
    import mmap

    dtype = torch.uint8 if dtype is None else dtype
    with blob.open() as file:
        if os.fstat(file.fileno()).st_size == 0:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), dtype=dtype)


def of(value, at) -> tuple:
    """Converts a value of a result: `(array, None)` for an array, `(None, plain value)` for a scalar, `(None, None)` for anything else.
    `at.refuse` raises for an array or scalar that cannot be sent."""
    tensor = loaded("torch", "Tensor")
    if tensor is not None and isinstance(value, tensor):
        if value.dim() == 0:
            return None, value.item()
        try:
            value = value.detach().cpu().resolve_conj().resolve_neg().numpy()
        except (TypeError, RuntimeError) as error:
            at.refuse("is a tensor that cannot be converted to a numpy array: %s" % error)
    generic, ndarray = loaded("numpy", "generic"), loaded("numpy", "ndarray")
    if generic is None or ndarray is None:
        return None, None
    if isinstance(value, ndarray) and value.ndim == 0 and not value.dtype.hasobject:
        value = value[()]
    if isinstance(value, generic):
        return None, scalar(value, at)
    if not isinstance(value, ndarray):
        return None, None
    if value.dtype.hasobject:
        at.refuse("is a numpy array of Python objects: give a list")
    if hasattr(value, "mask"):
        at.refuse("is a masked array, and a file would lose its mask: give its filled() and its mask")
    return value, None


UNITS = {"W": (604800, 0), "D": (86400, 0), "h": (3600, 0), "m": (60, 0), "s": (1, 0)}
UNITS.update({"ms": (1, 3), "us": (1, 6), "ns": (1, 9), "ps": (1, 12), "fs": (1, 15), "as": (1, 18)})
"""numpy's units of time, each as (count, places): `count` times 10**-places seconds."""


def scalar(value, at):
    """The plain Python value of a numpy scalar."""
    kind = value.dtype.kind
    if kind in "mM":
        numpy = needed("numpy")
        if numpy.isnat(value):
            at.refuse("is NaT, a missing value: give None")
        if kind == "M":
            return str(numpy.datetime_as_string(value))
        unit, size = numpy.datetime_data(value.dtype)
        count = int(value.astype("int64")) * size
        if unit in ("Y", "M"):
            return "%sP%d%s" % ("-" if count < 0 else "", abs(count), unit)
        if unit not in UNITS:
            at.refuse("is a numpy.timedelta64 without a unit: give it a unit, or give a number")
        from .values import duration

        times, places = UNITS[unit]
        return duration(count * times, places)
    if value.dtype.names is not None:
        return {name: value[name] for name in value.dtype.names}
    plain = value.item()
    if plain is None or isinstance(plain, loaded("numpy", "generic")) and type(plain) is type(value):
        at.refuse("is a numpy %s, which has no plain Python value" % value.dtype)
    return plain


def loaded(module: str, name: str) -> type | None:
    """A class of a library, if the library is loaded."""
    found = getattr(sys.modules.get(module), name, None)
    return found if isinstance(found, type) else None


def save(file, array) -> None:
    """Writes an array as `.npy`."""
    needed("numpy").lib.format.write_array(file, array, allow_pickle=False)
