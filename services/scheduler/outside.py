"""Plugins that others have written and installed: found by their names among the entry points of Python packages."""

from __future__ import annotations

import dataclasses
from importlib.metadata import entry_points

from services.scheduler.plugin import Plugin
from services.scheduler.registry import Registered, registered

GROUP = "knarr.scheduler.plugins"


def find_outside(name: str) -> Registered | None:
    """None where no installed package has one of the name; ValueError where it has, and it will not do."""
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        return None
    if len(found) > 1:
        raise ValueError(f'plugin "{name}" is in several packages: {", ".join(entry.value for entry in found)}')
    entry = found[0]
    try:
        kind = entry.load()
    # Whatever somebody else's module does when it is loaded.
    except Exception as error:
        raise ValueError(f'plugin "{name}" cannot be loaded from {entry.value}: {type(error).__name__}: {error}') from error
    if not (isinstance(kind, type) and issubclass(kind, Plugin)):
        raise ValueError(f'plugin "{name}": {entry.value} is no knarr.scheduler_plugin.Plugin')
    if getattr(kind, "name", "") != name:
        raise ValueError(f'plugin "{name}": {entry.value} calls itself {getattr(kind, "name", "nothing")!r}')
    return dataclasses.replace(registered(kind), default=False)
