"""A module whose plugin is another's class."""

from sample import Echo

__all__ = ["Echo"]
