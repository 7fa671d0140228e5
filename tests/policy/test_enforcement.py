"""The component: from watch events to the table, and what ProxyService answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.api.networking.v1 import networking_pb2 as networking
from knarr.api.proxy.v1 import policies_pb2 as messages
from knarr.machinery.errors import error_of
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.kernel import PolicyTable
from services.proxy.policy.model import ChainEntry, Changes, Drop, ElementEntry, Entry, Value, always_there, patch
from services.proxy.routing.table import Endpoint, Route, RouteKey
from services.proxy.servicer import ProxyServicer
from services.proxy.settings import ProxySettings
from tests.policy import walk, worlds
from tests.policy.oracle import World
from tests.proxy.test_component import RecordingDatapath
from tests.support.api import FaultyApi
from tests.support.rights import PROXY

SETTINGS = ProxySettings(
    network_policies=True, node_name="node-0", retry_first_seconds=0.001, retry_limit_seconds=0.001, check_seconds=60.0
)
DENY = "deny all traffic to an application"


class RecordingTable(PolicyTable):
    """Keeps what it is told; the other end of its news is the test's."""

    def __init__(self, table: str, bridge: str) -> None:
        self.entries: dict[Entry, Value] = always_there()
        self.batches: list[Changes] = []
        self.failures = 0
        self.held = 0
        self.taken = False
        self.closed = False
        self.limitation = ""
        self.refused: dict[Entry, str] = {}
        self.gate = threading.Event()
        self.gate.set()
        self.news, self.mine = socket.socketpair()

    def fileno(self) -> int:
        return self.mine.fileno()

    def apply(self, changes: Changes) -> bool:
        assert self.gate.wait(10)
        if self.failures:
            self.failures -= 1
            raise PermissionError(1, "Operation not permitted")
        patch(self.entries, changes)
        if changes:
            self.batches.append(dict(changes))
        return bool(changes)

    def hold(self) -> None:
        self.held += 1

    def notice(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            os.set_blocking(self.mine.fileno(), False)
            self.mine.recv(100)
        taken, self.taken = self.taken, False
        if taken:
            self.batches.append({})
        return taken

    def ensure_seen(self) -> str:
        return self.limitation

    def close(self) -> None:
        self.news.close()
        self.mine.close()
        self.closed = True


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def objects(world: World) -> list[Any]:
    namespaces = []
    for name, labels in world.namespaces.items():
        made = core.Namespace()
        made.metadata.name = name
        made.metadata.labels.update(labels)
        namespaces.append(made)
    return [*namespaces, *map(walk.pod, world.pods), *map(walk.policy, world.policies)]


@contextlib.asynccontextmanager
async def running(api: FaultyApi, recorder: Recorder | None = None) -> AsyncIterator[PolicyEnforcement]:
    found = PolicyEnforcement(api.client(PROXY), SETTINGS, RecordingTable, recorder)  # type: ignore[arg-type]
    task = asyncio.create_task(found.run())
    try:
        async with asyncio.timeout(20):
            yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert found._table is None or table(found).closed


def table(found: PolicyEnforcement) -> RecordingTable:
    assert isinstance(found._table, RecordingTable)
    return found._table


def expected(world: World, node: str = "node-0") -> dict[Entry, Value]:
    engine = PolicyEngine(node)
    walk.fill(engine, world)
    engine.settle()
    return engine.entries


def world_of(recipe: str) -> World:
    world = worlds.cluster()
    world.policies = worlds.recipes()[recipe]
    return world


async def test_without_policies_nobody_is_followed_and_all_is_open() -> None:
    api, world = FaultyApi(), world_of("nothing")
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.tried and not found.problem)
        assert table(found).held == 1
        assert table(found).entries == always_there()
        assert not found.engine.pods and not found.knows_pods


async def test_the_first_table_is_complete() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        assert table(found).entries == expected(world)
        assert len(table(found).batches) == 1


async def test_the_first_policy_comes_with_all_that_it_needs() -> None:
    api, world = FaultyApi(), world_of("nothing")
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.tried and not found.problem)
        world.policies = worlds.recipes()[DENY]
        await api.client().create(walk.policy(world.policies[0]))
        await until(lambda: found.in_force_since)
        # The first that is closed has every pod's rights already.
        first = next(batch for batch in table(found).batches if batch.get(ChainEntry("unknown")) == Drop(closed=True))
        assert {entry for entry in first if isinstance(entry, ElementEntry) and entry.set == "known"} == {
            entry for entry in expected(world) if isinstance(entry, ElementEntry) and entry.set == "known"
        }
        await api.client().delete(networking.NetworkPolicy, "policy", "default")
        await until(lambda: table(found).entries[ChainEntry("unknown")] == Drop())
        assert not found.in_force_since


async def test_a_policy_that_selects_nobody_is_in_force_too() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        nobodys = worlds.policy_of({"name": "nobodys", "spec": {"podSelector": {"matchLabels": {"app": "nobody"}}}})
        await api.client().create(walk.policy(nobodys))
        await until(lambda: ("default", "nobodys") in found.in_force_since)


async def test_what_of_a_policy_cannot_be_enforced_is_told_by_an_event() -> None:
    api, world, recorder = FaultyApi(), world_of("nothing"), Recorder()
    spec = {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "fd00::/8"}}]}]}
    world.policies = [worlds.policy_of({"name": "six", "spec": spec}), *worlds.recipes()[DENY]]
    api.seed(*objects(world))
    async with running(api, recorder=recorder) as found:
        await until(lambda: recorder.events)
        words = "ipBlock fd00::/8: pods have IPv4 addresses only; it admits nobody"
        assert recorder.events == [("six", "NotEnforced", f"Node node-0: {words}")]
        answer = await servicer(found).GetPolicies(messages.GetPoliciesRequest(), None)
        assert [(policy.name, list(policy.problems)) for policy in answer.policies] == [("policy", []), ("six", [words])]


async def test_pods_namespaces_and_policies_are_followed_and_heartbeats_are_not() -> None:
    api, world = FaultyApi(), world_of("allow traffic from one namespace")
    api.seed(*objects(world))
    client = api.client()
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        world.pods[0]["metadata"]["labels"] = {}
        world.namespaces["test"]["purpose"] = "production"
        for made in objects(world):
            if not isinstance(made, networking.NetworkPolicy):
                await client.update(made)
        await until(lambda: table(found).entries == expected(world) and found.changes == len(table(found).batches))
        changes = found.changes
        pod = await client.get(core.Pod, "probe", "default")
        pod.status.conditions.add(type="Ready", status="True")
        await client.update(pod, subresource="status")
        for _ in range(100):
            await asyncio.sleep(0)
        assert found.changes == changes


async def test_changes_that_come_during_one_go_together() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    client = api.client()
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        before = len(table(found).batches)
        table(found).gate.clear()
        policy = await client.get(networking.NetworkPolicy, "policy", "default")
        for port in range(1, 101):
            del policy.spec.ingress[:]
            policy.spec.ingress.add().ports.add(protocol="TCP").port.int_val = port
            policy = await client.update(policy)
        await until(lambda: "low=100" in repr(found.engine.policies))
        table(found).gate.set()
        await until(lambda: "low=100" in repr(table(found).entries))
        assert len(table(found).batches) - before <= 2


async def test_what_was_known_stays_while_the_api_server_is_away() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        api.fail_next(error_of(meta.Status(reason="ServiceUnavailable", code=503)), verb="watch", times=20)
        api.break_watches(error_of(meta.Status(reason="ServiceUnavailable", code=503)))
        await until(lambda: found.away_since)
        answer = await servicer(found).GetPolicies(messages.GetPoliciesRequest(), None)
        assert answer.stale and answer.HasField("stale_since") and not answer.problem
        assert table(found).entries == expected(world)
        api.compact()
        world.pods[0]["metadata"]["labels"] = {}
        await api.client().update(walk.pod(world.pods[0]))
        await until(lambda: table(found).entries == expected(world))
        assert all(batch.get(ChainEntry("unknown")) != Drop() for batch in table(found).batches)


async def test_a_refused_change_is_told_and_tried_again() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        table(found).failures = 3
        await api.client().delete(networking.NetworkPolicy, "policy", "default")
        await until(lambda: found.problem)
        assert "Operation not permitted" in found.problem
        await until(lambda: not found.problem)


async def test_a_table_that_others_took_is_restored_at_once() -> None:
    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: found.in_force_since)
        before = len(table(found).batches)
        table(found).taken = True
        table(found).news.send(b"x")
        await until(lambda: len(table(found).batches) > before)


async def test_without_the_privilege_it_says_so_and_still_explains() -> None:
    def refuse(name: str, bridge: str) -> PolicyTable:
        raise PermissionError(1, "Operation not permitted")

    api, world = FaultyApi(), world_of(DENY)
    api.seed(*objects(world))
    recorder = Recorder()
    found = PolicyEnforcement(api.client(), SETTINGS, refuse, recorder)  # type: ignore[arg-type]
    task = asyncio.create_task(found.run())
    try:
        async with asyncio.timeout(20):
            await until(lambda: found.tried and found.knows_pods)
            answer = await servicer(found).GetPolicies(messages.GetPoliciesRequest(), None)
            assert answer.problem == "NetworkPolicies are not enforced: [Errno 1] Operation not permitted"
            assert not any(policy.HasField("in_force_since") for policy in answer.policies)
            assert not (await explained(found, "probe", "web")).allowed
            await until(lambda: recorder.events)
            assert recorder.events == [("policy", "NotEnforced", f"Node node-0: {answer.problem}")]
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


UNPRIVILEGED = """
import asyncio
from tests.support.api import FaultyApi
from services.proxy.policy.enforcement import PolicyEnforcement
from services.proxy.settings import ProxySettings
from tests.policy.test_enforcement import until

async def main():
    settings = ProxySettings(network_policies=True, retry_first_seconds=0.001, retry_limit_seconds=0.001)
    found = PolicyEnforcement(FaultyApi().client(), settings)
    task = asyncio.create_task(found.run())
    await until(lambda: found.tried)
    await asyncio.sleep(0.05)
    print(found.problem)
    task.cancel()
    await asyncio.wait([task])

asyncio.run(main())
"""


@pytest.mark.net
def test_a_process_without_the_privilege_says_so_and_leaks_nothing() -> None:
    command = ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", sys.executable, "-W", "error", "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == "NetworkPolicies are not enforced: [Errno 1] Operation not permitted\n"
    assert "ResourceWarning" not in done.stderr


class Recorder:
    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, obj: Any, event_type: str, reason: str, message: str) -> None:
        self.events.append((obj.metadata.name, reason, message))


def servicer(found: PolicyEnforcement | None) -> ProxyServicer:
    key = RouteKey("default", "web", "http")
    routes = {key: Route(key, "tcp", ("10.96.0.10",), 80, 0, (Endpoint("10.244.0.11", 8080, "web"),))}
    return ProxyServicer(SimpleNamespace(in_force=routes), RecordingDatapath(), None, found)  # type: ignore[arg-type]


class Aborted(Exception):
    pass


class Context:
    async def abort(self, code: grpc.StatusCode, words: str) -> None:
        raise Aborted(f"{code.name}: {words}")


async def explained(
    found: PolicyEnforcement | None, source: str, destination: str, port: int = 80, protocol: str = "TCP"
) -> messages.ExplainConnectionResponse:
    def party(text: str) -> messages.Party:
        return messages.Party(address=text) if "." in text else messages.Party(pod=text)

    request = messages.ExplainConnectionRequest(source=party(source), destination=party(destination), port=port, protocol=protocol)
    return await servicer(found).ExplainConnection(request, Context())


async def test_get_policies_answers_what_is_in_force() -> None:
    api, world = FaultyApi(), world_of("several policies add up")
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: len(found.in_force_since) == 3)
        table(found).limitation = "something is not seen"
        found._touch()
        await until(lambda: found.limitations)
        answer = await servicer(found).GetPolicies(messages.GetPoliciesRequest(), None)
        assert (answer.enabled, answer.problem, list(answer.limitations)) == (True, "", ["something is not seen"])
        assert [(policy.name, policy.ingress, policy.egress, policy.pods) for policy in answer.policies] == [
            ("first", True, False, 0),
            ("second", True, False, 0),
            ("third", True, False, 2),
        ]
        assert all(policy.HasField("in_force_since") for policy in answer.policies)
        assert [(pod.namespace, pod.name, pod.ingress_isolated, pod.egress_isolated, list(pod.policies)) for pod in answer.pods][:2] == [
            ("default", "probe", True, False, ["third"]),
            ("default", "web", True, False, ["third"]),
        ]
        one = await servicer(found).GetPolicies(messages.GetPoliciesRequest(namespace="default", pod="web"), None)
        assert [policy.name for policy in one.policies] == ["third"] and [pod.name for pod in one.pods] == ["web"]


async def test_a_connection_is_explained_by_the_policies_that_decide() -> None:
    api, world = FaultyApi(), world_of("several policies add up")
    api.seed(*objects(world))
    async with running(api) as found:
        await until(lambda: len(found.in_force_since) == 3)
        allowed = await explained(found, "web", "db")
        assert allowed.allowed
        assert allowed.reason == "no policy governs egress of pod default/web; ingress of pod default/db is allowed by first"
        refused = await explained(found, "198.51.100.2", "db")
        assert refused.reason == "ingress of pod default/db is governed by first, second, third, and none allows it"
        assert [list(judgement.policies) for judgement in refused.judgements] == [["first", "second", "third"]]
        assert (await explained(found, "198.51.100.2", "db", port=81)).reason == "ingress of pod default/db is allowed by second"
        assert (await explained(found, "db", "db")).reason == "no pod's policies are concerned"
        for arguments, words in (
            (("nobody", "db"), "NOT_FOUND: pod default/nobody is not known, or has no address of its own"),
            (("198.51.100.", "db"), "INVALID_ARGUMENT: '198.51.100.' is neither a pod nor an IPv4 address"),
            (("web", "10.96.0.10"), "Service default/web: ask for one of its endpoints (10.244.0.11 port 8080)"),
            (("web", "db", 0), "INVALID_ARGUMENT: port 0: must be between 1 and 65535"),
            (("web", "db", 80, "ICMP"), "INVALID_ARGUMENT: protocol 'ICMP': must be one of TCP, UDP, SCTP"),
        ):
            with pytest.raises(Aborted, match=re.escape(words)):
                await explained(found, *arguments)


async def test_without_policies_there_is_nothing_to_explain() -> None:
    with pytest.raises(Aborted, match="FAILED_PRECONDITION"):
        await explained(None, "web", "db")
    assert await servicer(None).GetPolicies(messages.GetPoliciesRequest(), None) == messages.GetPoliciesResponse()
