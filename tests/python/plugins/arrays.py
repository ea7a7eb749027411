"""Plugins that work with arrays."""

import datetime


def inode_at(address):
    """The file that is mapped at an address of this process."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, _, _, inode = line.split()[:5]
            first, last = (int(end, 16) for end in span.split("-"))
            if first <= address < last:
                return int(inode)
    return None


def number(value):
    return value if value == value else None


class Numpy:
    def view(self, blob, dtype=None):
        array = blob.numpy(dtype)
        return {
            "inode": inode_at(array.ctypes.data),
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "writeable": array.flags.writeable,
            "first": number(array.flat[0]) if array.size else None,
            "sum": number(float(array.sum())),
        }

    def make(self, kind):
        import numpy as np

        table = np.arange(6, dtype=np.float32).reshape(2, 3)
        if kind == "table":
            return table
        if kind == "fortran":
            return np.asfortranarray(np.arange(6, dtype=np.int64).reshape(3, 2))
        if kind == "slice":
            return table[:, ::2]
        if kind == "empty":
            return np.empty((0, 4))
        if kind == "nan":
            return np.array([np.nan, np.inf])
        if kind == "twice":
            return {"a": table, "b": [table]}
        if kind == "scalars":
            return {
                "float": np.float32(0.5),
                "int": np.int64(7),
                "bool": np.bool_(True),
                "zero_dim": np.array(3),
                "text": np.str_("x"),
                "time": np.datetime64(datetime.datetime(2026, 1, 2, 3, 4, 5), "s"),
            }
        if kind == "objects":
            return {"a": [1, np.array([object()])]}
        if kind == "masked":
            return np.ma.masked_array([1, 2], mask=[True, False])
        if kind == "longdouble":
            return [np.longdouble(1)]
        if kind == "nan_scalar":
            return {"score": np.float32("nan")}
        raise AssertionError(kind)


class Torch:
    def view(self, blob, dtype=None):
        import torch

        tensor = blob.torch(getattr(torch, {"<u4": "int32"}.get(dtype, dtype)) if dtype else None)
        return {
            "inode": inode_at(tensor.data_ptr()),
            "shape": list(tensor.shape),
            "dtype": str(tensor.dtype).partition(".")[2],
            "first": number(tensor.flatten()[0].item()) if tensor.numel() else None,
            "sum": number(float(tensor.sum())),
        }

    def scribble(self, blob):
        tensor = blob.torch()
        tensor.fill_(9)
        return tensor.tolist()

    def make(self, kind):
        import torch

        table = torch.arange(6, dtype=torch.float32, requires_grad=True).reshape(2, 3)
        if kind == "table":
            return table
        if kind == "fortran":
            return torch.arange(6, dtype=torch.int64).reshape(2, 3).T
        if kind == "slice":
            return table[:, ::2]
        if kind == "empty":
            return torch.empty((0, 4), dtype=torch.float64)
        if kind == "nan":
            return torch.tensor([float("nan"), float("inf")], dtype=torch.float64)
        if kind == "twice":
            return {"a": table, "b": [table]}
        if kind == "scalars":
            return {
                "float": torch.tensor(0.5, dtype=torch.bfloat16),
                "int": torch.tensor(7),
                "bool": torch.tensor(True),
            }
        if kind == "bfloat":
            return {"a": table.to(torch.bfloat16)}
        raise AssertionError(kind)
