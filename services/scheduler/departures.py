"""What plugins say of single nodes if pods left them: of many nodes, one after the other, without judging all of them each time.

A plugin that judges each node by itself is asked about that node alone, and one that looks across nodes only where a pod leaves that it
minds: else it says what it says of the nodes as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np

from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Mask
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.view import View


class Departures:
    """For one pod, by the plugins whose filters look at placed pods. ``reserved`` are pods that count on nodes where they are not yet."""

    def __init__(self, table: NodeTable, plugins: Sequence[Plugin], pod: PodFacts, reserved: Sequence[tuple[PodFacts, str]] = ()) -> None:
        self.table, self.pod = table, pod
        self.plugins = [plugin for plugin in plugins if plugin.reads_placed and type(plugin).filter is not Plugin.filter]
        self.minds: Mapping[str, Callable[[PodFacts], bool]] = {plugin.name: plugin.minded(pod) for plugin in plugins if plugin.across}
        self._reserved = reserved
        # One for all nodes: who judges each by itself does not see that pods have left others before.
        self.alone = self._view()
        # For who would: pods come back to a node before they leave the next one.
        self.apart = self._view()
        self._untouched = self._view()
        self._masks: dict[str, Mask | None] = {}
        self._told: dict[str, dict[int, list[str]]] = {}

    @contextmanager
    def emptied(self, row: int, gone: Sequence[PodFacts]) -> Iterator[Emptied]:
        """One node which the pods ``gone`` have left."""
        node = Emptied(self, row, gone)
        yield node
        node.restore()

    def _view(self) -> View:
        """The nodes as they are, with those that are reserved."""
        view = View(self.table)
        for facts, node in self._reserved:
            view.put_pod(facts, node)
        return view

    def refusal(self, plugin: Plugin, row: int) -> list[str] | None:
        """Why a plugin that looks across nodes refuses a row as it is; None where it does not."""
        if plugin.name not in self._masks:
            self._masks[plugin.name] = plugin.filter(self.pod, self._untouched)
        mask = self._masks[plugin.name]
        if mask is None or mask[row]:
            return None
        if plugin.name not in self._told:
            rows = np.flatnonzero(self.table.alive[: self.table.size] & ~mask)
            self._told[plugin.name] = dict(zip(rows.tolist(), plugin.all_reasons(self.pod, self._untouched, rows), strict=True))
        return self._told[plugin.name][row]


class Emptied:
    """One node which the pods ``gone`` have left, until ``restore``."""

    def __init__(self, departures: Departures, row: int, gone: Sequence[PodFacts]) -> None:
        self._all, self._row = departures, row
        self._minding = {name for name, minds in departures.minds.items() if any(map(minds, gone))}
        self._name = departures.table.node(row).metadata.name
        self._views = (departures.alone, departures.apart) if self._minding else (departures.alone,)
        self._out: dict[str, PodFacts] = {}
        for facts in gone:
            self._take(facts)

    def refusal(self) -> list[str] | None:
        """Why the first plugin that does refuses the node; None where it would do."""
        for plugin in self._all.plugins:
            if plugin.across and plugin.name not in self._minding:
                words = self._all.refusal(plugin, self._row)
            else:
                view = self._seen_by(plugin)
                accepted = plugin.accepts(self._all.pod, view, self._row)
                words = None if accepted else plugin.reasons(self._all.pod, view, self._row)
            if words is not None:
                return words
        return None

    def has_room_for(self, facts: PodFacts) -> bool:
        """Puts one of the pods back if the node would do all the same."""
        self._put(facts, self._views)
        changed = (plugin for plugin in self._all.plugins if not plugin.across or self._all.minds[plugin.name](facts))
        fits = all(plugin.accepts(self._all.pod, self._seen_by(plugin), self._row) for plugin in changed)
        if not fits:
            self._take(facts)
        return fits

    def restore(self) -> None:
        """Puts back whom other nodes' judges would miss."""
        for facts in list(self._out.values()):
            self._put(facts, self._views[1:])

    def _put(self, facts: PodFacts, views: Sequence[View]) -> None:
        del self._out[facts.uid]
        for view in views:
            view.put_pod(facts, self._name)

    def _take(self, facts: PodFacts) -> None:
        self._out[facts.uid] = facts
        for view in self._views:
            view.remove_pod(facts.uid)

    def _seen_by(self, plugin: Plugin) -> View:
        return self._all.apart if plugin.across else self._all.alone
