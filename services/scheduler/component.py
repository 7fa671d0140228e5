"""The scheduler: takes pods from its queue one by one, decides at once, writes concurrently.

Informers feed the state; the loop below is the only one that decides. A decision takes no await,
so it sees one consistent table. Its binding is written by a task of its own, so that many pods are
bound at the same time; a pod whose binding fails goes back to the queue.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import grpc.aio

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.policy.v1 import policy_pb2 as policy
from knarr.api.scheduler.v1 import scheduler_service_pb2, scheduler_service_pb2_grpc
from knarr.client.client import Client
from knarr.client.clock import SYSTEM_CLOCK, Clock
from knarr.client.events import NORMAL, WARNING, EventRecorder
from knarr.client.informer import Informer, Informers
from knarr.machinery.errors import NotFound, StatusError, not_found, status_error
from knarr.service.elected import ElectedComponent
from knarr.service.late import loaded
from knarr.service.tasks import cancel, run_together
from services.scheduler.advice import Advice, AdviceFailed
from services.scheduler.advisers import Advisers
from services.scheduler.decide import Decision, decide, feasible_nodes
from services.scheduler.extender import Extender, ExtenderFailed
from services.scheduler.extenders.asking import Extenders
from services.scheduler.extenders.web import LateWeb, Web
from services.scheduler.informed_cluster import InformedCluster
from services.scheduler.metrics import ATTEMPTS, DECISION_SECONDS, PENDING, PLACED_SECONDS
from services.scheduler.plugin import Release
from services.scheduler.pod_facts import PodFacts
from services.scheduler.preempter import Plan, Preempter
from services.scheduler.preemption import PREEMPTION
from services.scheduler.preparation import Preparation, Spoiled
from services.scheduler.preparer import Preparer
from services.scheduler.profile import DEFAULT_SCHEDULER, Profile
from services.scheduler.queue import State, Waiting
from services.scheduler.remote.asking import RemotePlugins, Reservation
from services.scheduler.remote_plugin import RemoteFailed
from services.scheduler.servicer import SchedulerServicer
from services.scheduler.settings import SchedulerSettings
from services.scheduler.state import SchedulerState
from services.scheduler.writer import FAILED, UNSCHEDULABLE, bind, expect, is_bound, report_unschedulable

if TYPE_CHECKING:
    from services.scheduler.explaining import Account
    from services.scheduler.what_if import WhatIf

logger = logging.getLogger(__name__)

LEASE = "knarr-scheduler"
METRICS_SECONDS = 5.0


class Scheduler(ElectedComponent):
    """Places the pods that ask for one of the scheduler names of ``settings.profiles``."""

    name: ClassVar[str] = "scheduler"

    def __init__(
        self,
        client: Client,
        settings: SchedulerSettings | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
        web: Web | None = None,
    ) -> None:
        self._settings = settings or SchedulerSettings()
        super().__init__(client, LEASE, self._settings.election, clock)
        self._clock = clock
        self._extenders = Extenders(self._settings.extenders, LateWeb() if web is None else web)
        self._random = random.Random(self._settings.seed)
        self._state: SchedulerState | None = None
        self._preparer: Preparer | None = None
        self._preempter: Preempter | None = None
        self._advisers: Advisers | None = None
        self._budgets: Callable[[], Sequence[policy.PodDisruptionBudget]] | None = None
        self._pods: Informer[core.Pod] | None = None
        self._recorder = EventRecorder(self._client, DEFAULT_SCHEDULER, clock=clock)
        self._writes: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(self._settings.concurrent_writes)
        self._working = False

    def register(self, server: grpc.aio.Server) -> list[str]:
        scheduler_service_pb2_grpc.add_SchedulerServiceServicer_to_server(SchedulerServicer(self), server)
        return [scheduler_service_pb2.DESCRIPTOR.services_by_name["SchedulerService"].full_name]

    @property
    def working(self) -> bool:
        return self._working

    @property
    def state(self) -> SchedulerState:
        """What it believes now; raises ServiceUnavailable while it does not schedule."""
        if self._state is None:
            raise status_error("ServiceUnavailable", "this scheduler is not active: it is starting, or another one leads")
        return self._state

    @property
    def preempter(self) -> Preempter:
        assert self._preempter is not None
        return self._preempter

    @property
    def preparer(self) -> Preparer:
        assert self._preparer is not None
        return self._preparer

    @property
    def advisers(self) -> Advisers:
        assert self._advisers is not None
        return self._advisers

    async def explain(self, namespace: str, name: str) -> Account:
        """Everything that is to be told of a pod, as if it were to be placed now; plugins in other processes and extenders are asked."""
        module = await loaded("services.scheduler.explaining")
        state = self.state
        assert self._pods is not None
        pod = self._pods.store.get(namespace, name)
        if pod is None:
            raise not_found("pods", name)
        account: Account = await module.Explaining(state, self.advisers, self.preempter).whole(pod)
        return account

    def what_if(self) -> WhatIf:
        """What to ask what would become of pods, as things are now."""
        # Few ask, and only now and then.
        from services.scheduler.what_if import WhatIf

        state = self.state
        assert self._budgets is not None
        waiting = [pod for pod in state.queue.pods() if not state.table.node_of(pod.uid)]
        judged = [pod for pod in waiting if not state.is_refused_by_others(pod)]
        return WhatIf(state, judged, self._budgets(), extended=bool(self._settings.extenders))

    async def _lead(self) -> None:
        informers = Informers(self._client)
        self._pods = informers.get(core.Pod)
        plugins = [kind for profile in self._settings.profiles for kind in profile.kinds]
        cluster = InformedCluster(informers, plugins, [policy.PodDisruptionBudget])
        self._state = state = SchedulerState(self._settings, cluster, asyncio.get_running_loop().time)
        self._budgets = budgets = functools.partial(cluster.list, policy.PodDisruptionBudget)
        self._preempter = Preempter(self._client, state, self._recorder, self._clock, budgets, self._random)
        self._advisers = Advisers(RemotePlugins(state.table, asyncio.get_running_loop().time), self._extenders)
        self._pods.on_change(self._preempter.pod_changed)
        informers.get(core.Node).on_change(self._state.node_changed)
        self._pods.on_change(self._state.pod_changed)
        for informer in cluster.informers.values():
            informer.on_change(self._state.object_changed)
        cluster.on_taken_back(self._state.object_changed)
        self._preparer = Preparer(self._client, cluster, self._waits, self._slots)
        self._pods.on_change(lambda old, new: cluster.tell() if new is None else None)
        parts = {
            "informers": informers.run(),
            "events": self._recorder.run(),
            "placing": self._place_pods(informers),
            "metrics": self._observe_queue(),
        }
        try:
            await run_together(self.name, parts)
        finally:
            self._working = False
            await cancel(list(self._writes))
            await self._advisers.close()
            self._state = self._pods = None

    def _waits(self, pod: PodFacts) -> bool:
        return self._state is not None and self._state.queue.uid_of(pod.key) == pod.uid

    async def _place_pods(self, informers: Informers) -> None:
        await informers.wait_synced()
        self._working = True
        while True:
            waiting = await self.state.queue.take()
            await self._slots.acquire()
            if self.advisers.matter(self.state.profile_of(waiting.pod.pod), waiting.pod):
                await self._place_by_advice(waiting)
            else:
                self._place(waiting)
            await asyncio.sleep(0)

    async def _place_by_advice(self, waiting: Waiting) -> None:
        """Asks others first. Nobody else is decided on meanwhile, but other things happen: what is decided then is decided anew."""
        state, pod = self.state, waiting.pod
        if not self._waits(pod):
            self._slots.release()
            return
        wakes = state.wakes
        try:
            profile = state.profile_of(pod.pod)
            nodes = feasible_nodes(state.nominations.seen_by(pod, state.table), profile, pod)
            advice = await self.advisers.advise(profile, pod, nodes) if nodes else None
        except asyncio.CancelledError:
            self._slots.release()
            raise
        except Exception as error:
            words = str(error) if isinstance(error, AdviceFailed) else f"{type(error).__name__}: {error}"
            logger.warning("asking where a pod may go failed", extra={"pod": str(pod.key), "error": words})
            ATTEMPTS.labels("error").inc()
            state.queue.retry(waiting)
            self._write(self._report(pod, Decision(summary=words), Plan(), FAILED), pod)
            return
        stale = state.wakes != wakes
        asked = profile.preemption is not None and self.advisers.judges_preemption(profile, pod)
        decided = self._decide(waiting, advice, plans=not asked)
        if decided is None:
            return
        decision, plan = decided
        stale = stale and advice is not None and not advice.askers.isdisjoint(decision.refused_by)
        if asked and not decision.node:
            wakes = state.wakes
            lasting = advice.lasting() if advice is not None else frozenset()
            plan = await self._plan_asking(waiting, decision, lasting)
            stale = stale or (state.wakes != wakes and plan.preemption is None)
        self._settle(waiting, decision, plan, stale=stale)

    async def _plan_asking(self, waiting: Waiting, decision: Decision, lasting: frozenset[str]) -> Plan:
        try:
            return await self.preempter.plan_asking(waiting.pod, decision, self.advisers, lasting)
        except asyncio.CancelledError:
            self._slots.release()
            raise
        except Exception as error:
            logger.exception("asking who may go for a pod failed", extra={"pod": str(waiting.pod.key)})
            return Plan(words=f"{PREEMPTION} {type(error).__name__}: {error}")

    def _place(self, waiting: Waiting) -> None:
        """Decides on one pod and starts the write; releases its slot when that is done."""
        decided = self._decide(waiting)
        if decided is not None:
            self._settle(waiting, *decided)

    def _decide(self, waiting: Waiting, advice: Advice | None = None, *, plans: bool = True) -> tuple[Decision, Plan] | None:
        """What is to be done; None where there is nothing more to do. ``plans``: whether room is to be made at once, if need be."""
        state, pod = self.state, waiting.pod
        if not self._waits(pod):
            self._slots.release()
            return None
        started = time.perf_counter()
        try:
            nodes = state.nominations.seen_by(pod, state.table)
            profile = state.profile_of(pod.pod)
            decision = decide(nodes, profile, pod, self._random, state.nominations.node_of(pod.uid), advice)
            plan = Plan() if decision.node or not plans else self.preempter.plan(pod, decision)
        except Exception:
            self._cannot_judge(waiting)
            return None
        DECISION_SECONDS.observe(time.perf_counter() - started)
        return decision, plan

    def _cannot_judge(self, waiting: Waiting) -> None:
        """One pod that a plugin fails at must not keep the others from their nodes. For an exception that is being handled."""
        logger.exception("deciding failed", extra={"pod": str(waiting.pod.key)})
        ATTEMPTS.labels("error").inc()
        self.state.queue.retry(waiting)
        self._slots.release()

    def _settle(self, waiting: Waiting, decision: Decision, plan: Plan, *, stale: bool = False) -> None:
        """Counts what was decided and starts the write. ``stale``: what refused the pod may have changed meanwhile."""
        state, pod = self.state, waiting.pod
        try:
            needed, released = self._needed(pod, decision), self._released(pod, decision)
        except Exception:
            self._cannot_judge(waiting)
            self.preempter.give_up(pod, plan)
            return
        if decision.node:
            # What is to be written counts before the next pod is looked at, as the pod itself does.
            state.assume(pod, decision.node)
            for one in needed:
                self.preparer.count(one)
            write = self._bind(waiting, decision.node, needed)
        else:
            ATTEMPTS.labels("unschedulable").inc()
            if stale:
                state.queue.retry(waiting)
            else:
                state.queue.refuse(waiting, decision.refused_by)
            write = self._report(pod, decision, plan, released=released)
        self._write(write, pod)

    def _needed(self, pod: PodFacts, decision: Decision) -> Sequence[Preparation]:
        """What must be so before a pod is bound."""
        if not decision.node:
            return []
        node = self.state.table.node(self.state.table.rows[decision.node])
        preparing = self.state.profile_of(pod.pod).preparing
        return [found for plugin in preparing if (found := plugin.prepare(pod, node)) is not None]

    def _released(self, pod: PodFacts, decision: Decision) -> Sequence[Release]:
        """What those who refused a pod give back for it."""
        filters = (plugin for plugin in self.state.profile_of(pod.pod).filters if plugin.name in decision.refused_by)
        return [found for plugin in filters if (found := plugin.release(pod, self.state.table)) is not None]

    def _write(self, write: Coroutine[Any, Any, None], pod: PodFacts) -> None:
        """Begins a write, with the slot that it has."""
        task = asyncio.create_task(write, name=f"write {pod.key}")
        self._writes.add(task)
        task.add_done_callback(self._written)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._writes.discard(task)
        self._slots.release()
        if not task.cancelled() and task.exception() is not None:
            logger.error("a placement could not be written", exc_info=task.exception(), extra={"task": task.get_name()})

    async def _bind(self, waiting: Waiting, node: str, needed: Sequence[Preparation]) -> None:
        pod, profile = waiting.pod, self.state.profile_of(waiting.pod.pod)
        reservation: Reservation | None = None
        # What may take long is told beforehand; the binding takes it back, or who fails.
        expected = bool(needed or profile.remote_preparing) and pod.pod.status.nominated_node_name != node
        try:
            if profile.remote_preparing:
                reservation = await self.advisers.remote.reserve(profile, pod, node)
            if expected:
                await expect(self._client, pod, node)
            if needed:
                await self.preparer.carry_out(pod, needed)
            if profile.remote_preparing:
                await self._pre_bind(profile, pod, node)
            extender = self._extenders.binder(pod)
            if extender is not None:
                await self._bind_by(extender, pod, node)
            else:
                await bind(self._client, pod, node)
        except Exception as error:
            ATTEMPTS.labels("error").inc()
            self.state.forget(pod)
            self.state.queue.retry(waiting)
            logger.warning("binding failed", extra={"pod": str(pod.key), "node": node, "error": str(error)})
            if not isinstance(error, NotFound):
                words = str(error) if isinstance(error, Spoiled | RemoteFailed) else f"binding rejected: {error}"
                self._tell(pod, WARNING, "FailedScheduling", words)
            if expected:
                await expect(self._client, pod, self.state.nominations.node_of(pod.uid))
            if reservation is not None:
                await reservation.give_back()
            return
        ATTEMPTS.labels("scheduled").inc()
        PLACED_SECONDS.observe(max(asyncio.get_running_loop().time() - waiting.since, 0.0))
        self._tell(pod, NORMAL, "Scheduled", f"Successfully assigned {pod.key} to {node}")

    async def _bind_by(self, extender: Extender, pod: PodFacts, node: str) -> None:
        """Has an extender bind a pod; one that fails, or is too slow to say so, may have done it."""
        try:
            await self._extenders.bind(extender, pod, node)
        except ExtenderFailed:
            if not await is_bound(self._client, pod, node):
                raise

    async def _pre_bind(self, profile: Profile, pod: PodFacts, node: str) -> None:
        """What may take long holds up no writes of others."""
        self._slots.release()
        try:
            await self.advisers.remote.pre_bind(profile, pod, node)
        finally:
            await self._slots.acquire()

    async def _report(
        self, pod: PodFacts, decision: Decision, plan: Plan, reason: str = UNSCHEDULABLE, released: Sequence[Release] = ()
    ) -> None:
        words = " ".join(filter(None, (decision.summary, *(one.words for one in released), plan.words))).removesuffix(",")
        self._tell(pod, WARNING, "FailedScheduling", words)
        try:
            await report_unschedulable(self._client, pod, words, self.state.nominations.node_of(pod.uid), self._clock, reason)
        except StatusError as error:
            # The next attempt tells it again; a pod that is gone needs no condition.
            logger.info("condition not written", extra={"pod": str(pod.key), "error": str(error)})
            self.preempter.give_up(pod, plan)
            return
        for one in released:
            await self._give_back(one)
        await self.preempter.carry_out(pod, plan)

    async def _give_back(self, released: Release) -> None:
        if released.obj is None:
            return
        try:
            await self._client.update(released.obj, subresource="status")
        except StatusError as error:
            # It is no longer as it was seen: the next attempt looks at what it is then.
            logger.info("nothing was given back", extra={"error": str(error)})

    def _tell(self, pod: PodFacts, kind: str, reason: str, words: str) -> None:
        """An event, as the scheduler that the pod asked for."""
        self._recorder.event(pod.pod, kind, reason, words, component=pod.pod.spec.scheduler_name)

    async def _observe_queue(self) -> None:
        while True:
            counts = Counter(waiting.state for waiting in self.state.queue.entries())
            for state in (State.ACTIVE, State.BACKOFF, State.UNSCHEDULABLE):
                PENDING.labels(state.value).set(counts[state])
            await asyncio.sleep(METRICS_SECONDS)
