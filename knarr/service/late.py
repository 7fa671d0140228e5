"""Modules that are loaded for the first who needs them: most clusters never do, and all would wait for them at the start."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any


async def loaded(name: str) -> ModuleType:
    """The module of a name. It is loaded in a thread, where it takes longer but holds up nobody else."""
    found = sys.modules.get(name)
    # One that another thread is about to load is there already, but not whole.
    if found is not None and not getattr(found.__spec__, "_initializing", False):
        return found
    return await asyncio.to_thread(importlib.import_module, name)


def postpone(package: str, exports: Mapping[str, str]) -> None:
    """Lets the modules of a package be loaded without what its own first module brings along, until somebody asks for a name that only
    that has. ``exports``: names that it takes from its modules, and from which. Nothing happens where it is loaded by now, or missing."""
    spec = importlib.util.find_spec(package) if package not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    module, loader = importlib.util.module_from_spec(spec), spec.loader

    def attribute(name: str) -> Any:
        if name in exports:
            return getattr(importlib.import_module(exports[name]), name)
        if module.__dict__.pop("__getattr__", None) is not None:
            loader.exec_module(module)
        return getattr(module, name)

    module.__dict__["__getattr__"] = attribute
    sys.modules[package] = module
