"""The plugins that profiles may name, with what each extends: those of the catalog, and those that are no rule on nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.scheduler.catalog import ALSO_EXTENDS, PLUGINS
from services.scheduler.plugin import Plugin
from services.scheduler.preemption import DefaultPreemptionArgs
from services.scheduler.remote_plugin import remote_plugin

# As Kubernetes has them, in the order in which it looks for plugins.
POINTS = (
    "preFilter",
    "filter",
    "postFilter",
    "reserve",
    "preScore",
    "score",
    "preBind",
    "bind",
    "postBind",
    "permit",
    "preEnqueue",
    "queueSort",
)
GATES, SORT, PREEMPTION, BINDER = "SchedulingGates", "PrioritySort", "DefaultPreemption", "DefaultBinder"
# Which methods of a plugin are which points.
_REMOTE = frozenset({"preFilter", "filter", "preScore", "score", "reserve", "preBind"})
_METHODS = {"impossible": "preFilter", "filter": "filter", "score": "score", "prepare": "preBind", "release": "postFilter"}


@dataclass(frozen=True, slots=True)
class Registered:
    """``plugin`` judges nodes; a name without one is something that the scheduler does by itself. ``args`` is a dataclass of arguments.

    ``default``: a profile that says nothing has it.
    """

    name: str
    points: frozenset[str]
    weight: int = 0
    plugin: type[Plugin] | None = None
    args: type[Any] | None = None
    default: bool = True


def registered(plugin: type[Plugin]) -> Registered:
    """What a plugin extends follows from the methods that it has."""
    points = {point for method, point in _METHODS.items() if getattr(plugin, method) is not getattr(Plugin, method)}
    return Registered(plugin.name, frozenset(points) | ALSO_EXTENDS.get(plugin.name, frozenset()), plugin.weight, plugin, plugin.Args)


def registered_remote(name: str) -> Registered:
    """A plugin that is a process of its own. What it extends it says itself, when it is asked; here it may be named everywhere."""
    kind = remote_plugin(name)
    return Registered(name, _REMOTE, kind.weight, kind, kind.Args, default=False)


_FIRST = (Registered(GATES, frozenset({"preEnqueue"})), Registered(SORT, frozenset({"queueSort"})))
_LAST = (
    Registered(PREEMPTION, frozenset({"postFilter", "preEnqueue"}), args=DefaultPreemptionArgs),
    Registered(BINDER, frozenset({"bind"})),
)


def registry(plugins: Iterable[type[Plugin]] = PLUGINS) -> Mapping[str, Registered]:
    """By name, in the order of the default profile."""
    return {one.name: one for one in (*_FIRST, *(registered(plugin) for plugin in plugins), *_LAST)}
