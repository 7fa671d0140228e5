"""What the scheduler believes: the node table and the queue, fed by informers.

A placement counts from the moment it is decided (``assume``), so that the next pod sees it; it is
confirmed when the pod comes back with its node, or taken back (``forget``) when binding failed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import cache

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.keys import is_deleting, key_of
from knarr.objects.pods import is_finished
from services.scheduler.advice import EXTENDER
from services.scheduler.node_table import NodeTable
from services.scheduler.nodes import Nodes
from services.scheduler.nominations import Nominations
from services.scheduler.parts import Part, Subject, differing
from services.scheduler.plugin import Change, Cluster, Plugin
from services.scheduler.pod_facts import PodFacts, facts_of
from services.scheduler.profile import DEFAULT_SCHEDULER, Profile, make_profiles
from services.scheduler.queue import SchedulingQueue, Waiting
from services.scheduler.settings import SchedulerSettings
from services.scheduler.view import View

logger = logging.getLogger(__name__)
AMOUNTS = facts_of(Subject.PLACED, "requests", "assumed")


class SchedulerState:
    """Takes in changes; nothing here waits or writes."""

    def __init__(self, settings: SchedulerSettings, cluster: Cluster, now: Callable[[], float]) -> None:
        self._parts = parts_read_by(kind for profile in settings.profiles for kind in profile.kinds)
        self._placed_parts = self._parts[Subject.PLACED]
        self.table = NodeTable(self._parts[Subject.NODE])
        # By the scheduler name that pods ask for.
        self.profiles = make_profiles(settings.profiles, cluster)
        self.queue = SchedulingQueue(settings, now)
        self.nominations = Nominations()
        # Uids of pods whose placement is decided but not yet seen in the API.
        self.assumed: set[str] = set()
        # How often something happened that may help a pod that waits.
        self.wakes = 0

    def knows(self, pod: core.Pod) -> bool:
        """Whether a pod asks for one of the profiles."""
        return (pod.spec.scheduler_name or DEFAULT_SCHEDULER) in self.profiles

    def profile_of(self, pod: core.Pod) -> Profile:
        """The one by which a pod is placed; KeyError when it is another scheduler's."""
        return self.profiles[pod.spec.scheduler_name or DEFAULT_SCHEDULER]

    def judging_profile(self, pod: core.Pod) -> Profile:
        """The same for questions: a pod of another scheduler is judged as if it were to be placed here."""
        return self.profile_of(pod) if self.knows(pod) else next(iter(self.profiles.values()))

    def is_refused_by_others(self, pod: PodFacts) -> bool:
        """Whether one was the cause last that a pod has no node who is no filter of this process."""
        waiting, profile = self.queue.get(pod.key), self.profile_of(pod.pod)
        return waiting is not None and not waiting.refused_by <= {plugin.name for plugin in profile.filters}

    def node_changed(self, old: core.Node | None, new: core.Node | None) -> None:
        """An informer listener."""
        if new is None:
            assert old is not None
            self.wakes += 1
            self.table.remove_node(old.metadata.name)
            self._wake_promised(old.metadata.name)
            # Its pods count no more for other nodes, either.
            self.queue.changed(lambda waiting: any(plugin.across for plugin in self._refusing(waiting)))
            return
        first = not len(self.table)
        changed = self.table.put_node(new)
        if first:
            # What was refused for want of nodes was refused by no plugin.
            self.queue.changed(lambda waiting: not waiting.refused_by)
        if changed:
            # A new node brings whatever its pods leave free.
            came = old is None
            parts = changed | self._placed_parts if came else changed
            self._wake(Change(parts, self.table.rows[new.metadata.name]))
            self._wake_promised(new.metadata.name)

    def object_changed(self, old: Message | None, new: Message | None) -> None:
        """An informer listener for the objects that plugins read besides nodes and pods."""
        found = new if new is not None else old
        parts = frozenset(part for subject, parts in self._parts.items() if isinstance(found, subject.message) for part in parts)
        self._wake(Change(parts if old is None or new is None else differing(parts, old, new), old=old, new=new))

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
            self._pod_waits(PodFacts.of(new))
        elif is_deleting(new):
            self.withdraw(new.metadata.uid)
            self.queue.remove(key_of(new))

    def assume(self, pod: PodFacts, node: str) -> None:
        """Counts a decided placement."""
        self.withdraw(pod.uid, node)
        self.table.put_pod(pod, node)
        self.assumed.add(pod.uid)

    def forget(self, pod: PodFacts) -> None:
        """Takes back a placement that was not carried out; a confirmed one stays, and so does a promise of the pod."""
        if pod.uid in self.assumed:
            self.assumed.discard(pod.uid)
            self._release(pod.uid)
            if self.queue.uid_of(pod.key) == pod.uid:
                self.nominations.put(pod, pod.pod.status.nominated_node_name)

    def promise(self, pod: PodFacts, node: str) -> None:
        """Promises a pod a node, and no other one any more."""
        if self.nominations.node_of(pod.uid) != node:
            self.withdraw(pod.uid)
        self.nominations.put(pod, node)

    def withdraw(self, uid: str, placed_on: str = "") -> None:
        """Takes back what a pod was promised; unless it has come there, that is room which others were refused."""
        promised = self.nominations.of(uid)
        if promised is not None:
            pod, node = promised
            self.nominations.remove(uid)
            if node != placed_on:
                self._wake_by_pod(node, self._placed_parts, left=pod)

    def validate(self) -> None:
        """Checks the invariants; for tests."""
        self.table.validate()
        self.queue.validate()
        for uid in self.assumed:
            assert self.table.node_of(uid)

    def _is_mine(self, pod: core.Pod) -> bool:
        return self.knows(pod) and not is_deleting(pod) and not pod.spec.scheduling_gates

    def _pod_waits(self, facts: PodFacts) -> None:
        before, written = self.queue.put(facts), facts.pod.status.nominated_node_name
        # What the pod says is news only where it says something else: a promise may be yet to be written, or to be taken back.
        is_news = before is None or before.pod.status.nominated_node_name != written
        if not self.table.node_of(facts.uid):
            self.promise(facts, written if is_news else self.nominations.node_of(facts.uid))
        changed = differing(self._parts[Subject.POD], before.pod, facts.pod) if before is not None else frozenset()
        if changed:
            self.wakes += 1
            self.queue.changed(lambda waiting: waiting.pod is facts and self._helps(waiting, Change(changed), self.table))

    def _pod_placed(self, pod: core.Pod) -> None:
        self.withdraw(pod.metadata.uid, pod.spec.node_name)
        if self.queue.uid_of(key_of(pod)) in ("", pod.metadata.uid):
            self.queue.remove(key_of(pod))
        uid = pod.metadata.uid
        if self.table.node_of(uid) not in ("", pod.spec.node_name):
            # Another one placed it: the room that was kept for it is free.
            self._release(uid)
        known, is_new = self.table.pods_of(pod.spec.node_name).get(uid), uid in self.assumed
        self.assumed.discard(uid)
        if known is None or is_new:
            facts = PodFacts.of(pod)
            self.table.put_pod(facts, pod.spec.node_name)
            self._wake_by_pod(pod.spec.node_name, self._placed_parts, came=facts)
            if known is not None and known.likeness is not facts.likeness:
                # It is not what was seen of it since its placement was decided.
                self._wake_by_pod(pod.spec.node_name, self._placed_parts, left=known, came=facts)
        elif changed := differing(self._placed_parts, known.pod, pod):
            self._placed_changed(known, pod, changed)
        elif known.resizing:
            self._placed_changed(known, pod, frozenset())
        else:
            self.table.show_pod(pod)

    def _placed_changed(self, known: PodFacts, pod: core.Pod, changed: frozenset[Part]) -> None:
        """A placed pod is not what it was. What one takes that is being resized may be told by its status alone."""
        facts = PodFacts.of(pod)
        self.table.put_pod(facts, pod.spec.node_name)
        if facts.asked_key != known.asked_key:
            changed |= AMOUNTS & self._placed_parts
        self._wake_by_pod(pod.spec.node_name, changed, left=known, came=facts)

    def _pod_gone(self, pod: core.Pod) -> None:
        self.withdraw(pod.metadata.uid)
        if self.queue.uid_of(key_of(pod)) in ("", pod.metadata.uid):
            self.queue.remove(key_of(pod))
        self.assumed.discard(pod.metadata.uid)
        self._release(pod.metadata.uid)

    def _release(self, uid: str) -> None:
        gone = self.table.pods_of(self.table.node_of(uid)).get(uid)
        self._wake_by_pod(self.table.remove_pod(uid), self._placed_parts, left=gone)

    def _wake_by_pod(self, node_name: str, parts: frozenset[Part], left: PodFacts | None = None, came: PodFacts | None = None) -> None:
        """A pod came to a node, left it, or changed on it."""
        row = self.table.rows.get(node_name)
        if row is not None:
            self._wake(Change(parts, row, left, came))

    def _wake_promised(self, node_name: str) -> None:
        """A node changed: who waits for room there may have to look for another one."""
        self.queue.changed(lambda waiting: self.nominations.node_of(waiting.pod.uid) == node_name)

    def _wake(self, change: Change) -> None:
        if not change.parts:
            return
        self.wakes += 1
        promised = self.nominations.on(self.table.node(change.row).metadata.name) if change.row is not None else ()

        @cache
        def seen_with(uids: frozenset[str]) -> Nodes:
            return View(self.table, ((pod, self.nominations.node_of(pod.uid)) for pod in promised if pod.uid in uids))

        def helps(waiting: Waiting) -> bool:
            before = (pod.uid for pod in promised if pod.priority >= waiting.pod.priority and pod.uid != waiting.pod.uid)
            return self._helps(waiting, change, seen_with(frozenset(before)) if promised else self.table)

        self.queue.changed(helps)

    def _refusing(self, waiting: Waiting) -> Iterable[Plugin]:
        """The plugins that refused a pod nodes."""
        by_name = self.profile_of(waiting.pod.pod).by_name
        return (by_name[name] for name in waiting.refused_by if name != EXTENDER)

    def _helps(self, waiting: Waiting, change: Change, nodes: Nodes) -> bool:
        """Whether one of the filters that refused a pod depends on what changed, and may think otherwise of it now."""
        # What extenders go by nobody knows.
        return EXTENDER in waiting.refused_by or any(
            (plugin.helped_by_arrivals or not change.arrival)
            and not plugin.reads.isdisjoint(change.parts)
            and _mends(plugin, waiting.pod, nodes, change)
            for plugin in self._refusing(waiting)
        )


def _mends(plugin: Plugin, pod: PodFacts, nodes: Nodes, change: Change) -> bool:
    """What a plugin says; in doubt where it fails, which must not keep others from hearing of the change."""
    try:
        return plugin.mends(pod, nodes, change)
    except Exception:
        logger.exception("asking what helps failed", extra={"pod": str(pod.key), "plugin": plugin.name})
        return True


def parts_read_by(plugins: Iterable[type[Plugin] | Plugin]) -> Mapping[Subject, frozenset[Part]]:
    """What the plugins together depend on, by whose part it is."""
    read = frozenset(part for plugin in plugins for part in plugin.reads)
    return {subject: frozenset(part for part in read if part.subject is subject) for subject in Subject}
