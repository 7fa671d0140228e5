"""Where the ``knarr`` command was before it had a room of its own; a script that an earlier installation made looks for it here."""

from __future__ import annotations

from services.command.main import main

__all__ = ["main"]
