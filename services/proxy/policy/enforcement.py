"""Keeps the node's policies as the API has them: informers → engine → one change at a time → the kernel.

While a change is put in force, others gather and go together with the next. Stopping leaves it all in force; while the API server is
away, what was known last is. Until the policies are known for the first time, nothing is forwarded to or from pods on a node that has no
table of a predecessor. Pods are followed from the first policy on: without policies there is nothing to know about them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from time import monotonic
from typing import TypeVar

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.client.backoff import Backoff
from knarr.client.client import Client
from knarr.client.events import WARNING, EventRecorder
from knarr.client.informer import Informer
from knarr.objects.keys import key_of
from knarr.service.tasks import cancel, run_together
from services.proxy import metrics
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.explain import Connection, allows
from services.proxy.policy.facts import Key, PolicyFacts, dns_facts, is_ipv4, pod_facts, policy_facts
from services.proxy.policy.kernel import NftablesError, PolicyTable
from services.proxy.policy.model import Changes, Entry
from services.proxy.routing.table import Endpoint
from services.proxy.settings import ProxySettings

log = logging.getLogger(__name__)

DNS_NAMESPACE, DNS_NAME = "kube-system", "kube-dns"
NOT_ENFORCED = "NotEnforced"
NOT_YET = "the policies are not known yet"

M = TypeVar("M", bound=Message)
R = TypeVar("R")
MakeTable = Callable[[str, str], PolicyTable]


class PolicyEnforcement:
    """One node's policies. ``run`` it; without NET_ADMIN or nftables it goes on deciding, and says that nothing is enforced."""

    def __init__(
        self, client: Client, settings: ProxySettings, make_table: MakeTable = PolicyTable, recorder: EventRecorder | None = None
    ) -> None:
        """``recorder`` hears of policies that are not enforced."""
        self._settings = settings
        self._recorder = recorder
        self._where = f"Node {settings.node_name}" if settings.node_name else "A node"
        # What was said of each policy, and of all of them.
        self._told: dict[Key, str] = {}
        self._told_of_all = ""
        self._make_table = make_table
        self._policies = Informer(client, networking.NetworkPolicy)
        self._pods = Informer(client, core.Pod)
        self._namespaces = Informer(client, core.Namespace)
        self._dns = Informer(client, core.Service, namespace=DNS_NAMESPACE, field_selector=f"metadata.name={DNS_NAME}")
        self._backoff = Backoff(first_seconds=settings.retry_first_seconds, limit_seconds=settings.retry_limit_seconds)
        self._pod_range = IPv4Network(settings.pod_cidr)
        self._wanted = asyncio.Event()
        self._touched = asyncio.Event()
        self._since = 0.0
        self._following = False
        self._table: PolicyTable | None = None
        self._hand_over_all = True
        self._listening: asyncio.Task[None] | None = None
        self._changed: set[Key] = set()
        self.engine = PolicyEngine(settings.node_name)
        # Whether a first try has been made; what stands against enforcement, in words; what is not seen even so.
        self.tried = False
        self.problem = NOT_YET
        # Whether there is something to judge by, which is from the first policy on.
        self.knows_pods = False
        self.limitation = ""
        # Policies of which the kernel refuses something, and why, in words: their pods are let nothing instead.
        self.refused: dict[Key, str] = {}
        self.in_force_since: dict[Key, datetime] = {}
        self.changes = 0
        self.last_change_seconds = 0.0

    @property
    def limitations(self) -> tuple[str, ...]:
        """What is not enforced on this node, in words."""
        return (self.limitation,) if self.limitation else ()

    @property
    def away_since(self) -> datetime | None:
        """Since when the API server does not answer; None while it does."""
        followed = (self._policies, self._pods, self._namespaces)
        return min((since for informer in followed if (since := informer.away_since) is not None), default=None)

    def admits(self, client: str, named: tuple[str, int], endpoint: Endpoint, protocol: str) -> bool:
        """Whether a client may be connected to an endpoint, for a datapath that hides the client: a port's gate.

        The node itself, which asks by the address that it names, may. Nothing passes until the policies are known, nor from an address
        of the pods' range that is no pod's yet.
        """
        if not self._policies.synced:
            return False
        if not self.engine.policies or client == named[0]:
            return True
        if not self.knows_pods or (self._is_pods(client) and self.engine.pod_at(client) is None):
            return False
        return allows(self.engine, Connection(client, endpoint.address, protocol, endpoint.port, named))

    def _is_pods(self, address: str) -> bool:
        return is_ipv4(address) and IPv4Address(address) in self._pod_range

    async def run(self) -> None:
        """Works until cancelled."""
        # One thread for netlink and libnftables; neither may be used by two at once.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="proxy-policy")
        parts = {"policies": self._policies.run(), "pods": self._follow(), "keep": self._keep()}
        try:
            await run_together("proxy/policy", parts)
        finally:
            if self._listening is not None:
                await cancel([self._listening])
            if self._table is not None:
                asyncio.get_running_loop().remove_reader(self._table.fileno())
            await self._in_worker(self._close)
            self._worker.shutdown()

    async def _follow(self) -> None:
        await self._wanted.wait()
        parts = {"pods": self._pods.run(), "namespaces": self._namespaces.run(), "dns": self._dns.run()}
        await run_together("proxy/policy", parts)

    async def _keep(self) -> None:
        if await self._open():
            await self._hold()
        await self._policies.wait_synced()
        self._policies.on_change(self._policy_changed)
        failures = 0
        self._touch()
        while True:
            if self.engine.policies and not self._following:
                await self._begin_to_follow()
            self._touched.clear()
            healthy = await self._step()
            failures = 0 if healthy else failures + 1
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.check_seconds if healthy else self._backoff.delay(failures)):
                    await self._touched.wait()

    async def _begin_to_follow(self) -> None:
        """Follows pods, from the first policy on. What is put in force next knows all of them at once."""
        self._following = True
        self._wanted.set()
        for informer in (self._pods, self._namespaces, self._dns):
            await informer.wait_synced()
        self._namespaces.on_change(self._namespace_changed)
        self._dns.on_change(self._dns_changed)
        self._pods.on_change(self._pod_changed)
        self.knows_pods = True

    def _policy_changed(self, old: networking.NetworkPolicy | None, new: networking.NetworkPolicy | None) -> None:
        key = _key(old, new)
        found = policy_facts(new) if new is not None else None
        if found != self.engine.policies.get(key):
            self._changed.add(key)
            self.engine.put_policy(key, found)
            self._touch()

    def _pod_changed(self, old: core.Pod | None, new: core.Pod | None) -> None:
        """Most changes of pods do not matter here."""
        key = _key(old, new)
        found = pod_facts(new) if new is not None else None
        if found != self.engine.pods.get(key):
            self.engine.put_pod(key, found)
            self._touch()

    def _namespace_changed(self, old: core.Namespace | None, new: core.Namespace | None) -> None:
        name = _key(old, new)[1]
        labels = dict(new.metadata.labels) if new is not None else None
        if labels != self.engine.namespaces.get(name):
            self.engine.put_namespace(name, labels)
            self._touch()

    def _dns_changed(self, old: core.Service | None, new: core.Service | None) -> None:
        self.engine.put_dns(dns_facts(new))
        self._touch()

    def _touch(self) -> None:
        if not self._touched.is_set():
            self._since = monotonic()
            self._touched.set()

    async def _step(self) -> bool:
        """Puts in force what has gathered, and looks after what is; False when it could not."""
        since, changed = self._since, set(self._changed)
        touched = self.engine.settle()
        if self._table is None and not await self._open():
            return False
        # The worker keeps entries of its own: facts come in while it works.
        entries = self.engine.entries
        changes: Changes = dict(entries) if self._hand_over_all else {entry: entries.get(entry) for entry in touched}
        self._hand_over_all = False
        try:
            written, limitation, refused = await self._in_worker(lambda: self._apply(changes))
        except (OSError, NftablesError) as error:
            metrics.POLICY_CHANGES.labels("error").inc()
            self._tell(f"the NetworkPolicies could not be put in force: {error}", self.limitation)
            return False
        self._tell("", limitation)
        self._note(changed)
        before, self.refused = self.refused, self._by_policy(refused)
        self._report(changed | before.keys() | self.refused.keys())
        metrics.POLICIES.set(len(self.engine.policies))
        if written:
            self.changes += 1
            self.last_change_seconds = monotonic() - since
            metrics.POLICY_CHANGES.labels("ok").inc()
            metrics.POLICY_CHANGE_SECONDS.observe(self.last_change_seconds)
        return True

    def _by_policy(self, refused: Mapping[Entry, str]) -> dict[Key, str]:
        words = "the kernel refuses its rules, so its pods are shut off in that direction"
        return {key: f"{words}: {reason}" for entry, reason in refused.items() for key in self.engine.policies_behind(entry)}

    def problems_of(self, policy: PolicyFacts) -> tuple[str, ...]:
        """What of a policy is not enforced as it says, in words."""
        return (*policy.problems, *([self.refused[policy.key]] if policy.key in self.refused else []))

    def _apply(self, changes: Changes) -> tuple[bool, str, dict[Entry, str]]:
        assert self._table is not None
        if self._table.notice():
            log.warning("someone changed our nftables table; restoring it", extra={"table": self._settings.policy_table})
        written, limitation = self._table.apply(changes), self._table.ensure_seen()
        return written, limitation, dict(self._table.refused)

    async def _open(self) -> bool:
        """Makes the way to the kernel; False when there is none."""
        try:
            self._table = await self._in_worker(self._make)
        except (OSError, NftablesError) as error:
            self._tell(f"NetworkPolicies are not enforced: {error}", "")
            return False
        self._hand_over_all = True
        asyncio.get_running_loop().add_reader(self._table.fileno(), self._heard)
        return True

    async def _hold(self) -> None:
        try:
            await self._in_worker(lambda: self._table.hold() if self._table is not None else None)
        except (OSError, NftablesError) as error:
            self._tell(f"NetworkPolicies are not enforced: {error}", "")

    def _make(self) -> PolicyTable:
        return self._make_table(self._settings.policy_table, self._settings.pod_bridge)

    def _heard(self) -> None:
        """Our own changes are news, too: once for each."""
        if self._table is not None and self._listening is None:
            asyncio.get_running_loop().remove_reader(self._table.fileno())
            self._listening = asyncio.create_task(self._listen(self._table), name="proxy/policy/listen")

    async def _listen(self, table: PolicyTable) -> None:
        try:
            if await self._in_worker(table.notice):
                log.warning("someone changed our nftables table; restoring it", extra={"table": self._settings.policy_table})
                self._touch()
        finally:
            self._listening = None
            asyncio.get_running_loop().add_reader(table.fileno(), self._heard)

    def _note(self, changed: set[Key]) -> None:
        """Notes since when policies are in force, also those that change nothing here because nobody of this node is theirs."""
        now = datetime.now(UTC)
        self._changed -= changed
        for key in changed:
            if key in self.engine.policies:
                self.in_force_since[key] = now
            else:
                self.in_force_since.pop(key, None)

    def _tell(self, problem: str, limitation: str) -> None:
        self.tried = True
        if (problem, limitation) != (self.problem, self.limitation):
            bad = problem or limitation
            log.log(logging.WARNING if bad else logging.INFO, "network policies", extra={"problem": problem, "limitation": limitation})
        self.problem, self.limitation = problem, limitation
        if problem:
            self._report(self._changed)

    def _report(self, changed: Iterable[Key]) -> None:
        """An event on each policy that is not enforced, or not all of it; once as long as the words are the same."""
        whole, before = self.problem or self.limitation, self._told_of_all
        self._told_of_all = whole
        for key in list(self.engine.policies) if whole != before else changed:
            policy, stored = self.engine.policies.get(key), self._policies.store.get(*key)
            words = "; ".join((*filter(None, (whole,)), *self.problems_of(policy))) if policy is not None else ""
            if words and words != self._told.get(key) and stored is not None and self._recorder is not None:
                self._recorder.event(stored, WARNING, NOT_ENFORCED, f"{self._where}: {words}")
            self._told[key] = words
            if not words:
                del self._told[key]

    def _close(self) -> None:
        if self._table is not None:
            self._table.close()

    async def _in_worker(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._worker, work)


def _key(old: Message | None, new: Message | None) -> Key:
    obj = new if new is not None else old
    assert obj is not None
    namespace, name = key_of(obj)
    return namespace, name
