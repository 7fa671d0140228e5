"""The error that a person who gave a command is told without a traceback. Imports nothing, since the ``knarr`` command needs it first."""

from __future__ import annotations


class CommandError(Exception):
    """A command or a component cannot do as it was asked; the text says why, and the way out."""
