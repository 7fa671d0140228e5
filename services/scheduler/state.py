"""What the scheduler believes: the node table and the queue, fed by informers.

A placement counts from the moment it is decided (``assume``), so that the next pod sees it; it is
confirmed when the pod comes back with its node, or taken back (``forget``) when binding failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import key_of
from knarr.objects.pods import is_deleting, is_finished
from services.scheduler.node_table import ALL_PARTS, NodeTable, Part
from services.scheduler.plugins.catalog import PLUGINS
from services.scheduler.plugins.plugin import Change, Cluster, Plugin
from services.scheduler.pod_facts import PodFacts
from services.scheduler.queue import SchedulingQueue, Waiting
from services.scheduler.settings import SchedulerSettings


class SchedulerState:
    """Takes in changes; nothing here waits or writes."""

    def __init__(
        self, settings: SchedulerSettings, cluster: Cluster, now: Callable[[], float], plugins: Sequence[type[Plugin]] = PLUGINS
    ) -> None:
        self.table = NodeTable()
        self.plugins: list[Plugin] = [plugin(self.table, cluster) for plugin in plugins]
        self.queue = SchedulingQueue(settings, now)
        # Uids of pods whose placement is decided but not yet seen in the API.
        self.assumed: set[str] = set()
        self._scheduler_name = settings.scheduler_name
        self._by_name = {plugin.name: plugin for plugin in self.plugins}

    def node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        """An informer listener."""
        if new is None:
            assert old is not None
            self.table.remove_node(old.metadata.name)
            return
        changed = self.table.put_node(new)
        if changed:
            # A new node brings whatever its pods leave free.
            self._wake(Change(changed, self.table.rows[new.metadata.name]))

    def pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """An informer listener."""
        if new is None:
            assert old is not None
            self._pod_gone(old)
        elif is_finished(new):
            self._pod_gone(new)
        elif new.spec.node_name:
            self._pod_placed(new)
        elif self._is_mine(new):
            self.queue.put(PodFacts.of(new))
        elif is_deleting(new):
            self.queue.remove(key_of(new))

    def assume(self, pod: PodFacts, node: str) -> None:
        """Counts a decided placement."""
        self.table.put_pod(pod, node)
        self.assumed.add(pod.uid)

    def forget(self, pod: PodFacts) -> None:
        """Takes back a placement that was not carried out; a confirmed one stays."""
        if pod.uid in self.assumed:
            self.assumed.discard(pod.uid)
            self._release(pod.uid)

    def validate(self) -> None:
        """Checks the invariants; for tests."""
        self.table.validate()
        self.queue.validate()
        for uid in self.assumed:
            assert self.table.node_of(uid)

    def _is_mine(self, pod: core.Pod) -> bool:
        name = pod.spec.scheduler_name or self._scheduler_name
        return name == self._scheduler_name and not is_deleting(pod) and not pod.spec.scheduling_gates

    def _pod_placed(self, pod: core.Pod) -> None:
        if self.queue.uid_of(key_of(pod)) in ("", pod.metadata.uid):
            self.queue.remove(key_of(pod))
        uid = pod.metadata.uid
        self.assumed.discard(uid)
        known = self.table.pods.get(pod.spec.node_name, {}).get(uid)
        if known is None or known.pod.spec != pod.spec or known.pod.metadata.labels != pod.metadata.labels:
            self.table.put_pod(PodFacts.of(pod), pod.spec.node_name)

    def _pod_gone(self, pod: core.Pod) -> None:
        if self.queue.uid_of(key_of(pod)) in ("", pod.metadata.uid):
            self.queue.remove(key_of(pod))
        self.assumed.discard(pod.metadata.uid)
        self._release(pod.metadata.uid)

    def _release(self, uid: str) -> None:
        row = self.table.rows.get(self.table.remove_pod(uid))
        if row is not None:
            self._wake(Change(frozenset({Part.PODS}), row))

    def _wake(self, change: Change) -> None:
        def helps(waiting: Waiting) -> bool:
            # Refused without a filter's name: there was no node at all.
            if not waiting.refused_by:
                return change.parts == ALL_PARTS
            return any(self._by_name[name].mends(waiting.pod, change) for name in waiting.refused_by)

        self.queue.changed(helps)
