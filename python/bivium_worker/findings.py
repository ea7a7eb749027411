"""The cause that was found for an error of a confined plugin: a denied permission, or something else."""

from __future__ import annotations

CONFINED = "the plugin is confined to its permissions: "

FILESYSTEM = "permissions.filesystem"
NETWORK = "permissions.network"
ALL = "permissions"
"""Stands for something that no permission gives. Only a plugin that is not confined has it."""


class Finding:
    """The cause of an error, and what to do about it."""

    def __init__(self, help: str, permission: str | None = None, resource: str = "") -> None:
        self.help = help
        self.permission = permission
        """The permission that was missing; None if the call failed for another reason."""
        self.resource = resource
        """What was denied."""

    @property
    def is_denied(self) -> bool:
        """Whether the plugin was denied something."""
        return self.permission is not None
