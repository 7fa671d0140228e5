"""Empty lists that mean something else than none, where Kubernetes tells one from the other: what is absent is filled in, what is said to
be empty is refused. A message does not know the difference, so it is marked in an object's JSON before that becomes one."""

from __future__ import annotations

from typing import Any

AUTOSCALER = "HorizontalPodAutoscaler"


def mark_empty(value: dict[str, Any], api_version: str, kind: str) -> None:
    """Marks, in place, what ``take_mark`` looks for. Only versions that have a ``behavior`` have something to mark."""
    spec = value.get("spec")
    if kind != AUTOSCALER or not api_version.startswith("autoscaling/") or not isinstance(spec, dict):
        return
    behavior = spec.get("behavior")
    for rules in behavior.values() if isinstance(behavior, dict) else ():
        if isinstance(rules, dict) and rules.get("policies") == []:
            rules["policies"] = [{}]


def take_mark(found: Any) -> bool:
    """Whether a list was said to be empty, which it is from now on."""
    if len(found) != 1 or found[0].ListFields():
        return False
    del found[:]
    return True
