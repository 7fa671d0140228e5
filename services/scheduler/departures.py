"""What plugins say of single nodes if pods left them: of many nodes, one after the other, without judging all of them each time.

A plugin that judges each node by itself is asked about that node alone, and one that looks across nodes only where a pod leaves that it
minds: else it says what it says of the nodes as they are. One whose filter is arithmetic about the pods of a node has that done instead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Mask
from services.scheduler.plugin import Plugin, Room
from services.scheduler.pod_facts import PodFacts
from services.scheduler.view import View


class Departures:
    """For one pod, by the plugins whose filters look at placed pods. ``reserved`` are pods that count on nodes where they are not yet."""

    def __init__(self, table: NodeTable, plugins: Sequence[Plugin], pod: PodFacts, reserved: Sequence[tuple[PodFacts, str]] = ()) -> None:
        self.table, self.pod = table, pod
        self._order = {plugin.name: at for at, plugin in enumerate(plugins)}
        judging = (plugin for plugin in plugins if plugin.reads_placed and type(plugin).filter is not Plugin.filter)
        # Those that are reserved may ask something of others.
        asking = any(facts.affinity for facts, _ in reserved)
        self.plugins = [plugin for plugin in judging if (plugin.across and asking) or not plugin.indifferent(pod, table)]
        self.minds: Mapping[str, Callable[[PodFacts], bool]] = {plugin.name: plugin.minded(pod) for plugin in self.plugins if plugin.across}
        self._reserved = reserved
        self.reserved_on: dict[str, list[PodFacts]] = defaultdict(list)
        for facts, node in reserved:
            if not table.node_of(facts.uid):
                self.reserved_on[node].append(facts)
        self._masks: dict[str, Mask | None] = {}
        self._told: dict[str, dict[int, list[str]]] = {}

    def plugins_before(self, one: Plugin | None) -> Sequence[Plugin]:
        """Those that come before one of all plugins, whether or not it is among them; all without."""
        return self.plugins if one is None else [plugin for plugin in self.plugins if self._order[plugin.name] < self._order[one.name]]

    @contextmanager
    def emptied(self, row: int, gone: Sequence[PodFacts]) -> Iterator[Emptied]:
        """One node which the pods ``gone`` have left."""
        node = Emptied(self, row, gone)
        yield node
        node.restore()

    @cached_property
    def alone(self) -> View:
        """One for all nodes: who judges each by itself does not see that pods have left others before."""
        return self._view()

    @cached_property
    def apart(self) -> View:
        """For who would: pods come back to a node before they leave the next one."""
        return self._view()

    @cached_property
    def _untouched(self) -> View:
        return self._view()

    def rooms(self, row: int) -> dict[str, Room]:
        """What stands for plugins at a node, reserved pods counted; by their names."""
        there = self.reserved_on.get(self.table.node(row).metadata.name, ())
        found = {plugin.name: room for plugin in self.plugins if (room := plugin.room(self.pod, self.table, row)) is not None}
        for room in found.values():
            for facts in there:
                room.put(facts)
        return found

    @cached_property
    def is_arithmetic(self) -> bool:
        """Whether all that is said of a node follows from the amounts of the pods on it."""
        rows = self.table.rows.values()
        return bool(rows) and len(self.rooms(next(iter(rows)))) == len(self.plugins)

    def _view(self) -> View:
        """The nodes as they are, with those that are reserved."""
        return View(self.table, self._reserved)

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
        self._rooms = departures.rooms(row)
        # Where all is arithmetic nobody has to see the nodes.
        seeing = len(self._rooms) < len(departures.plugins)
        self._views = (departures.alone, departures.apart)[: 1 + bool(self._minding)] if seeing else ()
        self._out: dict[str, PodFacts] = {}
        for facts in gone:
            self._take(facts)

    def refusal(self, before: Plugin | None = None) -> list[str] | None:
        """Why the first plugin that does refuses the node; None where it would do. Of those ``before`` one alone, if that is given."""
        for plugin in self._all.plugins_before(before):
            if plugin.name in self._rooms:
                words = self._rooms[plugin.name].refusal()
            elif plugin.across and plugin.name not in self._minding:
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
        fits = all(self._accepts(plugin) for plugin in changed)
        if not fits:
            self._take(facts)
        return fits

    def _accepts(self, plugin: Plugin) -> bool:
        if (room := self._rooms.get(plugin.name)) is not None:
            return room.refusal() is None
        return plugin.accepts(self._all.pod, self._seen_by(plugin), self._row)

    def restore(self) -> None:
        """Puts back whom other nodes' judges would miss."""
        for facts in list(self._out.values()):
            self._put(facts, self._views[1:])

    def _put(self, facts: PodFacts, views: Sequence[View]) -> None:
        del self._out[facts.uid]
        for room in self._rooms.values():
            room.put(facts)
        for view in views:
            view.put_pod(facts, self._name)

    def _take(self, facts: PodFacts) -> None:
        self._out[facts.uid] = facts
        for room in self._rooms.values():
            room.take(facts)
        for view in self._views:
            view.remove_pod(facts.uid)

    def _seen_by(self, plugin: Plugin) -> View:
        return self._all.apart if plugin.across else self._all.alone
