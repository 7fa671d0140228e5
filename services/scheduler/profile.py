"""A profile: the plugins by which pods of one scheduler name are placed, with their weights and arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.scheduler.catalog import PLUGINS
from services.scheduler.plugin import Cluster, Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preemption import DefaultPreemptionArgs
from services.scheduler.remote_plugin import RemotePlugin

DEFAULT_SCHEDULER = "default-scheduler"
PREEMPTION = DefaultPreemptionArgs()


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """What was chosen for a scheduler name.

    ``filters``: who judges nodes, in the order in which they are asked; the first that refuses a node is named.
    ``scores``: who compares nodes, and what each counts. ``preparing``: who makes things ready before a pod is bound.
    ``args``: arguments of those that are not made with their defaults, by name.
    ``preemption``: how room is made for pods of higher priority; None: it is not.
    """

    name: str = DEFAULT_SCHEDULER
    filters: Sequence[type[Plugin]] = PLUGINS
    scores: Sequence[tuple[type[Plugin], int]] = tuple((plugin, plugin.weight) for plugin in PLUGINS)
    preparing: Sequence[type[Plugin]] = PLUGINS
    args: Mapping[str, Any] = field(default_factory=dict)
    preemption: DefaultPreemptionArgs | None = PREEMPTION

    @classmethod
    def of(cls, plugins: Sequence[type[Plugin]]) -> ProfileSettings:
        """The default profile, of these plugins."""
        return cls(filters=plugins, scores=tuple((plugin, plugin.weight) for plugin in plugins), preparing=plugins)

    @property
    def kinds(self) -> Iterable[type[Plugin]]:
        """All plugins that it has, each once."""
        return dict.fromkeys((*self.filters, *(plugin for plugin, _ in self.scores), *self.preparing))


@dataclass(frozen=True, slots=True)
class Roster:
    """Those of a profile's plugins that have something to say of a pod; ``judging``: of the filters those that may find it impossible."""

    judging: Sequence[Plugin]
    filters: Sequence[Plugin]
    scores: Sequence[tuple[Plugin, int]]


@dataclass(frozen=True, slots=True)
class Profile:
    """The same with plugins that were made."""

    name: str
    filters: Sequence[Plugin]
    scores: Sequence[tuple[Plugin, int]]
    preparing: Sequence[Plugin]
    by_name: Mapping[str, Plugin]
    preemption: DefaultPreemptionArgs | None
    # Those in other processes, at which points they are asked.
    remote_filters: Sequence[RemotePlugin] = ()
    remote_scores: Sequence[tuple[RemotePlugin, int]] = ()
    remote_preparing: Sequence[RemotePlugin] = ()
    # By what pods have, see ``roster``.
    _rosters: dict[frozenset[str], Roster] = field(default_factory=dict, compare=False, repr=False)

    @property
    def asks(self) -> bool:
        """Whether others are to be asked where a pod may go."""
        return bool(self.remote_filters or self.remote_scores)

    def roster(self, pod: PodFacts) -> Roster:
        """Which of its plugins a pod concerns."""
        found = self._rosters.get(pod.has)
        if found is None:
            filters = [plugin for plugin in self.filters if plugin.concerns(pod)]
            found = self._rosters[pod.has] = Roster(
                judging=[plugin for plugin in filters if type(plugin).impossible is not Plugin.impossible],
                filters=filters,
                scores=[(plugin, weight) for plugin, weight in self.scores if plugin.concerns(pod)],
            )
        return found


def make_profiles(settings: Iterable[ProfileSettings], cluster: Cluster) -> Mapping[str, Profile]:
    """By scheduler name. Profiles share the plugins that they have with equal arguments, and so what those remember."""
    made: list[tuple[Callable[..., Plugin], Any, Plugin]] = []

    def plugin_of(kind: Callable[..., Plugin], args: Any) -> Plugin:
        for other, given, plugin in made:
            if other is kind and given == args:
                return plugin
        plugin = kind(cluster) if args is None else kind(cluster, args)
        made.append((kind, args, plugin))
        return plugin

    return {one.name: _made(one, {kind: plugin_of(kind, one.args.get(kind.name)) for kind in one.kinds}) for one in settings}


def _made(settings: ProfileSettings, plugins: Mapping[type[Plugin], Plugin]) -> Profile:
    return Profile(
        name=settings.name,
        filters=_extending("filter", (plugins[kind] for kind in settings.filters)),
        scores=[(plugins[kind], weight) for kind, weight in settings.scores if kind.score is not Plugin.score],
        preparing=_extending("prepare", (plugins[kind] for kind in settings.preparing)),
        by_name={plugin.name: plugin for plugin in plugins.values()},
        preemption=settings.preemption,
        remote_filters=_remote(plugins[kind] for kind in settings.filters),
        remote_scores=[(plugin, weight) for kind, weight in settings.scores for plugin in _remote([plugins[kind]])],
        remote_preparing=_remote(plugins[kind] for kind in settings.preparing),
    )


def _remote(plugins: Iterable[Plugin]) -> Sequence[RemotePlugin]:
    return [plugin for plugin in plugins if isinstance(plugin, RemotePlugin)]


def _extending(method: str, plugins: Iterable[Plugin]) -> Sequence[Plugin]:
    return [plugin for plugin in plugins if getattr(type(plugin), method) is not getattr(Plugin, method)]
