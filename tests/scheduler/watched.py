"""Nodes, pods and other objects that fail when a plugin reads what it does not declare in ``reads``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn, cast

import numpy as np
from google.protobuf.message import Message

from services.scheduler.likeness import Likeness
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Amount
from services.scheduler.parts import NODE_ALLOCATABLE, NODE_NAME, NODE_UNSCHEDULABLE, Part, Subject
from services.scheduler.plugin import Change, Cluster, M, Plugin
from services.scheduler.pod_facts import SOURCES, PodFacts, facts_of
from services.scheduler.tally import Asked, Question
from services.scheduler.view import View

# What names an object is nobody's dependency; that a node's name is read by rules on it.
IDENTITY = {
    Subject.POD: ("metadata.name", "metadata.namespace", "metadata.uid"),
    Subject.PLACED: ("metadata.name", "metadata.namespace", "metadata.uid"),
    Subject.NODE: (),
    Subject.SERVICE: ("metadata.name", "metadata.namespace"),
    Subject.CLAIM: ("metadata.name", "metadata.namespace", "metadata.uid"),
    Subject.NAMESPACE: ("metadata.name",),
    Subject.DEVICE_CLAIM: ("metadata.name", "metadata.namespace", "metadata.uid"),
    Subject.DEVICE_CLASS: ("metadata.name",),
    Subject.DEVICE_TAINT_RULE: ("metadata.name",),
    Subject.RESOURCE_SLICE: ("metadata.name",),
    Subject.VOLUME: ("metadata.name", "metadata.uid"),
    Subject.STORAGE_CLASS: ("metadata.name",),
    Subject.CSI_NODE: ("metadata.name",),
    Subject.CSI_DRIVER: ("metadata.name",),
    Subject.STORAGE_CAPACITY: ("metadata.name", "metadata.namespace"),
}


class UndeclaredRead(AssertionError):
    """A plugin reads a part that it does not declare."""

    def __init__(self, plugin: str, subject: Subject, path: str) -> None:
        super().__init__(f"{plugin} reads {path or 'all'} of {subject.value}, which its `reads` does not declare")


class WatchedMessage:
    """A message of which only declared parts may be read."""

    def __init__(self, message: Any, plugin: type[Plugin], subject: Subject, path: str = "") -> None:
        self._message, self._plugin, self._subject, self._path = message, plugin, subject, path
        declared = [part.path for part in plugin.reads if part.subject is subject]
        self._paths = (*declared, *IDENTITY[subject])

    def __getattr__(self, name: str) -> Any:
        if name not in self._message.DESCRIPTOR.fields_by_name:
            if name == "HasField":
                return self._has
            self._refuse(self._path)
        path = self._below(name)
        value = getattr(self._message, name)
        if self._is_declared(path):
            return value
        if isinstance(value, Message):
            return WatchedMessage(value, self._plugin, self._subject, path)
        self._refuse(path)

    def __eq__(self, other: object) -> bool:
        self._refuse(self._path)

    __hash__ = None  # type: ignore[assignment]

    def _has(self, name: str) -> bool:
        path = self._below(name)
        if not self._is_declared(path) and not any(declared.startswith(f"{path}.") for declared in self._paths):
            self._refuse(path)
        return bool(self._message.HasField(name))

    def _below(self, name: str) -> str:
        json_name = self._message.DESCRIPTOR.fields_by_name[name].json_name
        return f"{self._path}.{json_name}" if self._path else json_name

    def _is_declared(self, path: str) -> bool:
        return any(path == declared or path.startswith(f"{declared}.") for declared in self._paths)

    def _refuse(self, path: str) -> NoReturn:
        raise UndeclaredRead(self._plugin.__name__, self._subject, path)


class WatchedFacts:
    """The facts of a pod, of which only those of declared parts may be read."""

    def __init__(self, facts: PodFacts, plugin: type[Plugin], subject: Subject) -> None:
        self._facts, self._plugin, self._subject = facts, plugin, subject

    def __getattr__(self, name: str) -> Any:
        if name == "pod":
            return WatchedMessage(self._facts.pod, self._plugin, self._subject)
        _require(self._plugin, facts_of(self._subject, name) if name in SOURCES else frozenset())
        return getattr(self._facts, name)


class WatchedLikeness:
    """What rules on other pods see of one, of which only what is declared may be read."""

    def __init__(self, likeness: Likeness, plugin: type[Plugin]) -> None:
        self._likeness, self._plugin = likeness, plugin

    def __getattr__(self, name: str) -> Any:
        if name in SOURCES:
            _require(self._plugin, facts_of(Subject.PLACED, name))
        return getattr(self._likeness, name)


def _require(plugin: type[Plugin], parts: frozenset[Part]) -> None:
    for part in parts - plugin.reads:
        raise UndeclaredRead(plugin.__name__, part.subject, part.path)


_COLUMNS: Mapping[str, frozenset[Part]] = {
    "rows": frozenset({NODE_NAME}),
    "unschedulable": frozenset({NODE_UNSCHEDULABLE}),
    "allocatable": frozenset({NODE_ALLOCATABLE}),
    "requested": facts_of(Subject.PLACED, "requests"),
    "assumed_cpu": facts_of(Subject.PLACED, "assumed"),
    "assumed_memory": facts_of(Subject.PLACED, "assumed"),
}


class WatchedNodes(View):
    """A table as one plugin may see it. The table's own nodes are watched, too: it can take no more changes."""

    def __init__(self, table: NodeTable, plugin: type[Plugin]) -> None:
        super().__init__(table)
        self._plugin = plugin
        self._names = [found.metadata.name if found is not None else "" for found in table.nodes]
        watched: list[Any] = [None if found is None else WatchedMessage(found, plugin, Subject.NODE) for found in table.nodes]
        table.nodes[:] = watched

    def __getattribute__(self, name: str) -> Any:
        if name in _COLUMNS and "_plugin" in vars(self):
            _require(self._plugin, _COLUMNS[name])
        return super().__getattribute__(name)

    def __len__(self) -> int:
        # How many there are says nothing of their names.
        return int(self.alive.sum())

    def pods_on(self, row: int) -> Mapping[str, PodFacts]:
        found = self.table.pods_of(self._names[row])
        return cast("Mapping[str, PodFacts]", {uid: WatchedFacts(facts, self._plugin, Subject.PLACED) for uid, facts in found.items()})

    def tally(self, question: Question) -> Amount | None:
        def count(likeness: Likeness) -> int:
            return question.count(cast("Likeness", WatchedLikeness(likeness, self._plugin)))

        return super().tally(replace(question, key=("watched", question.key), count=count))

    @property
    def asked(self) -> Asked:
        _require(self._plugin, facts_of(Subject.PLACED, "terms"))
        return super().asked


class WatchedCluster(Cluster):
    """Objects of which one plugin may read what it declares."""

    def __init__(self, cluster: Cluster, plugin: type[Plugin]) -> None:
        self._cluster, self._plugin = cluster, plugin

    def get(self, kind: type[M], namespace: str, name: str) -> M | None:
        found, subject = self._cluster.get(kind, namespace, name), self._declared(kind)
        return cast("M", WatchedMessage(found, self._plugin, subject)) if found is not None else None

    def _declared(self, kind: type[Message]) -> Subject:
        subject = next(subject for subject in Subject if subject.message is kind)
        if not any(part.subject is subject for part in self._plugin.reads):
            raise UndeclaredRead(self._plugin.__name__, subject, "")
        return subject

    def list(self, kind: type[M], namespace: str = "") -> Sequence[M]:
        subject = self._declared(kind)
        return cast("Sequence[M]", [WatchedMessage(obj, self._plugin, subject) for obj in self._cluster.list(kind, namespace)])


def ask_everything(plugin: type[Plugin], table: NodeTable, waiting: Sequence[PodFacts], cluster: Cluster) -> None:
    """Asks a plugin all that it can be asked; UndeclaredRead when it reads what it does not declare."""
    rows = np.array(sorted(table.rows.values()), np.intp)
    asked, nodes = plugin(WatchedCluster(cluster, plugin)), WatchedNodes(table, plugin)
    for facts in waiting:
        watched = cast("PodFacts", WatchedFacts(facts, plugin, Subject.POD))
        asked.impossible(watched)
        mask = asked.filter(watched, nodes)
        asked.score(watched, nodes, rows)
        minds = asked.minded(watched)
        for row in rows.tolist():
            asked.accepts(watched, nodes, row)
            for other in nodes.pods_on(row).values():
                minds(other)
            if mask is not None and not mask[row]:
                asked.reasons(watched, nodes, row)
            asked.mends(watched, nodes, Change(plugin.reads, row))
