"""What a pod that was refused waits for, in words. It follows from what the plugins that refused it declare. Pure."""

from __future__ import annotations

from services.scheduler.parts import Subject
from services.scheduler.plugin import Plugin


def awaited(name: str, plugin: Plugin | None) -> str:
    """What may end the refusal of one; of an extender nothing is known."""
    if plugin is None:
        return f"{name}: anything that changes"
    parts = sorted(f"{part.subject.value} {part.path}" for part in plugin.reads if part.subject not in (Subject.PLACED, Subject.POD))
    own = sorted(part.path for part in plugin.reads if part.subject is Subject.POD)
    if plugin.reads_placed:
        parts.append("pods that leave a node")
    if plugin.helped_by_arrivals:
        parts.append("pods that come to a node")
    if own:
        parts.append(f"its own {', '.join(own)}")
    return f"{name}: {'; '.join(parts)}"
