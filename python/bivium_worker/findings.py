"""What is known of an error of a confined plugin: that it was denied something, or what else is behind it."""

from __future__ import annotations

HELD = "the plugin is held to its permissions: "

FILESYSTEM = "permissions.filesystem"
NETWORK = "permissions.network"
ALL = "permissions"
"""Stands for what no permission gives: a plugin that is not confined has it."""


class Finding:
    """What is behind an error, and what to do about it."""

    def __init__(self, help: str, permission: str | None = None, resource: str = "") -> None:
        self.help = help
        self.permission = permission
        """The permission that was missing; none where the call failed for another reason."""
        self.resource = resource
        """What was denied."""

    @property
    def is_denied(self) -> bool:
        """Whether the plugin was denied something."""
        return self.permission is not None
