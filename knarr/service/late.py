"""Modules that are loaded for the first who needs them: most clusters never do, and all would wait for them at the start."""

from __future__ import annotations

import asyncio
import importlib
import sys
from types import ModuleType


async def loaded(name: str) -> ModuleType:
    """The module of a name. It is loaded in a thread, where it takes longer but holds up nobody else."""
    found = sys.modules.get(name)
    # One that another thread is about to load is there already, but not whole.
    if found is not None and not getattr(found.__spec__, "_initializing", False):
        return found
    return await asyncio.to_thread(importlib.import_module, name)
