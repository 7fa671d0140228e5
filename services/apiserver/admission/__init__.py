"""The admission chain: checks and changes that concern more than one kind. Order matters and is data."""

from __future__ import annotations

from collections.abc import Sequence

from services.apiserver.admission.namespace_lifecycle.plugin import NamespaceLifecycle
from services.apiserver.admission.plugin import Admission, Plugin

PLUGINS: Sequence[Plugin] = (NamespaceLifecycle(),)


async def admit(admission: Admission) -> None:
    """Runs every plugin; the first refusal is raised."""
    for plugin in PLUGINS:
        if admission.operation in plugin.operations:
            await plugin.admit(admission)
