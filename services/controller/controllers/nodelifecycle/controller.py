"""Node lifecycle: notices silent nodes, taints what cannot run pods, and moves their pods away.

Silence is counted on this process' own clock, from when a change of the heartbeat was seen here;
the clocks of nodes are not compared. While the server cannot be reached nobody is called silent.

The taints for which pods leave are given to one node after the other, as fast as its zone permits (``zones``); those that keep new pods
away come at once. Who waits for its turn is looked at again when the turn has come, and then as it is by then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import is_there
from knarr.client.events import NORMAL, WARNING
from knarr.client.reconciler import Again
from knarr.machinery.errors import Conflict, NotFound, StatusError
from knarr.objects.conditions import UNKNOWN, condition_status, get_condition, is_true, set_condition
from knarr.objects.copies import copy_of
from knarr.objects.keys import Key, is_deleting, key_of
from knarr.objects.pods import is_finished
from services.controller.attempts import Attempts
from services.controller.controller import Context, Controller
from services.controller.controllers.nodelifecycle import metrics
from services.controller.controllers.nodelifecycle.decide import Evictions, Seen, evictions, seen_taints, silenced, standing, taints
from services.controller.controllers.nodelifecycle.words import News
from services.controller.controllers.nodelifecycle.zones import Zones
from services.controller.pods import BY_NODE, tell_disruption

logger = logging.getLogger(__name__)

LEASE_NAMESPACE = "kube-node-lease"
# A rest of time too small for the clock to tell must not keep a worker spinning.
SHORTEST_WAIT_SECONDS = 0.01
# When what was refused is tried again.
REFUSED_SECONDS = 5.0
# Reason and message of the condition DisruptionTarget.
TAINTED = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")


class NodeLifecycleController(Controller):
    name = "nodelifecycle"
    speaks_as = "node-controller"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._heard: dict[str, float] = {}
        self._seen: dict[str, Seen] = {}
        # By node, the uids of pods that were going to be evicted later.
        self._waiting: dict[str, frozenset[str]] = {}
        self._zones = Zones(context.settings.eviction_rates, lambda name: self.queue.enqueue(Key("", name)))
        self._news = News()
        self._nodes = self.hears(core.Node, self._node_changed)
        self._leases = self.hears(coordination.Lease, self._lease_changed)
        self._pods = self.watches(core.Pod, BY_NODE, mapped=self._troubled_node, when=is_there)

    def _node_changed(self, old: core.Node | None, new: core.Node | None) -> Iterator[Key]:
        if new is None:
            if old is not None:
                self._zones.note(old.metadata.name, None, _now())
                for known in (self._heard, self._seen, self._waiting):
                    known.pop(old.metadata.name, None)
                yield key_of(old)
            return
        self._zones.note(new.metadata.name, standing(new), _now())
        if old is None:
            message = f"Node {new.metadata.name} event: Registered Node {new.metadata.name} in Controller"
            self.recorder.event(new, NORMAL, "RegisteredNode", message)
        if old is None or _heartbeat(old) != _heartbeat(new):
            self._hear(new.metadata.name)
        yield key_of(new)

    def _lease_changed(self, old: coordination.Lease | None, new: coordination.Lease | None) -> Iterable[Key]:
        if new is not None and new.metadata.namespace == LEASE_NAMESPACE and (old is None or old.spec.renew_time != new.spec.renew_time):
            self._hear(new.metadata.name)
        return ()

    def _hear(self, node: str) -> None:
        self._heard[node] = _now()

    def _troubled_node(self, pod: core.Pod) -> Iterator[Key]:
        """The pod's node, when there is reason to move pods away from it."""
        node = self._nodes.get("", pod.spec.node_name)
        if node is not None and (node.spec.taints or not is_true(node.status, "Ready")):
            yield key_of(node)

    async def reconcile(self, key: Key) -> Again | None:
        node = self._nodes.get("", key.name)
        self._settle(node)
        if node is None:
            return None
        settings = self.context.settings
        # First of all: one that cannot be written takes its turn all the same, and keeps no others waiting.
        turn_seconds = self._zones.wait_seconds(key.name, _now())
        left = settings.node_grace_seconds - self._silent_seconds(key.name)
        if left <= 0 and condition_status(node.status, "Ready") != UNKNOWN:
            # The watch brings it back: its zone is to know of it before anything is decided by that.
            return Again(settings.node_grace_seconds if await self._silence(node) else SHORTEST_WAIT_SECONDS)
        node = await self._taint(node, executes=turn_seconds == 0)
        now = self.context.clock.now()
        seen = self._seen[key.name] = seen_taints(node, self._seen.get(key.name, {}), now)
        plan = evictions(node, self._pods.index(BY_NODE, key.name), seen, now)
        self._tell_cancelled(key.name, plan)
        refused = await self._clear(plan)
        if isinstance(refused, Conflict):
            raise refused
        retry = None if refused is None else REFUSED_SECONDS
        waits = [seconds for seconds in (left, turn_seconds, plan.again_seconds, retry) if seconds is not None and seconds > 0]
        return Again(max(SHORTEST_WAIT_SECONDS, min([*waits, settings.node_grace_seconds])))

    def _settle(self, node: core.Node | None) -> None:
        """Draws the conclusions of all that was heard of nodes; ``node`` is the one whose change is looked at."""
        settled = self._zones.settle(_now())
        metrics.show(settled.counts)
        if settled.stopped is False:
            # While nobody was heard, nobody could show that it is there.
            self._heard = dict.fromkeys(self._heard, _now())
        for change in settled.changes:
            logger.info("zone changed", extra={"zone": "/".join(change.zone), "state": change.after, **change.nodes._asdict()})
        for news in self._news.of(settled, self._zones.all):
            if news.type == WARNING:
                logger.warning(news.message)
            if node is not None:
                self.recorder.event(node, *news)

    def _silent_seconds(self, node: str) -> float:
        now = _now()
        return now - self._heard.setdefault(node, now)

    async def _silence(self, node: core.Node) -> bool:
        """Marks a node Unknown, if the server agrees that nothing was heard; answers whether it does."""
        name = node.metadata.name
        try:
            lease = await self.client.get(coordination.Lease, name, LEASE_NAMESPACE)
        except NotFound:
            pass
        except StatusError:
            self._hear(name)
            raise
        else:
            known = self._leases.get(LEASE_NAMESPACE, name)
            if known is None or known.spec.renew_time != lease.spec.renew_time:
                self._hear(name)
                return False
        changed = copy_of(node)
        changed.status.CopyFrom(silenced(node, self.context.clock.now()))
        changed = await self.client.update(changed, subresource="status")
        self.recorder.event(changed, NORMAL, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        return True

    async def _taint(self, node: core.Node, *, executes: bool) -> core.Node:
        wanted = taints(node, self.context.clock.now(), executes=executes)
        if wanted == list(node.spec.taints):
            return node
        changed = copy_of(node)
        del changed.spec.taints[:]
        changed.spec.taints.extend(wanted)
        changed = await self.client.update(changed)
        before = standing(node)
        if executes and before.waits:
            metrics.EVICTIONS.labels(metrics.label(before.zone)).inc()
        return changed

    def _tell_cancelled(self, node: str, plan: Evictions) -> None:
        """Tells of those that were going to be evicted later and are no more, since the taint has gone, or the node is well again."""
        waited = self._waiting.get(node, frozenset())
        self._waiting[node] = frozenset(pod.metadata.uid for pod in plan.later)
        still = {pod.metadata.uid for pod in (*plan.now, *plan.later)}
        for pod in self._pods.index(BY_NODE, node) if waited - still else ():
            if pod.metadata.uid in waited - still and not is_deleting(pod) and not is_finished(pod):
                message = f"Cancelling deletion of Pod {pod.metadata.namespace}/{pod.metadata.name}"
                self.recorder.event(pod, NORMAL, "TaintManagerEviction", message)

    async def _clear(self, plan: Evictions) -> StatusError | None:
        """Answers the first refusal: one pod that may not be changed or deleted must not keep the others there."""
        attempts = Attempts()
        for pod in plan.not_ready:
            with attempts.about(pod):
                await self._mark_not_ready(pod)
        for pod in plan.now:
            message = f"Marking for deletion Pod {pod.metadata.namespace}/{pod.metadata.name}"
            self.recorder.event(pod, NORMAL, "TaintManagerEviction", message)
            with attempts.about(pod):
                await tell_disruption(self.client, pod, *TAINTED, self.context.clock.now())
                await self.client.delete(core.Pod, pod.metadata.name, pod.metadata.namespace, uid=pod.metadata.uid)
        return attempts.failure

    async def _mark_not_ready(self, pod: core.Pod) -> None:
        changed = copy_of(pod)
        ready = get_condition(changed.status, "Ready")
        assert ready is not None
        now, generation = self.context.clock.now(), pod.metadata.generation
        set_condition(changed.status, "Ready", "False", reason=ready.reason, message=ready.message, now=now, generation=generation)
        await self.client.update(changed, subresource="status")
        self.recorder.event(pod, WARNING, "NodeNotReady", "Node is not ready")


def _now() -> float:
    return asyncio.get_running_loop().time()


def _heartbeat(node: core.Node) -> object:
    """What only the kubelet changes: its stamp on the Ready condition, while it vouches for it."""
    ready = get_condition(node.status, "Ready")
    return None if ready is None or ready.status == "Unknown" else (ready.last_heartbeat_time.seconds, ready.status)
