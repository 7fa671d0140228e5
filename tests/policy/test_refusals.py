"""Rights that the kernel refuses are shut off alone, told on their policies, and tried again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from knarr.api.proxy.v1 import policies_pb2 as messages
from services.proxy.policy import kernel
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.facts import BlockPeer
from services.proxy.policy.kernel import NftablesError, PolicyTable
from services.proxy.policy.model import ChainEntry, Entry, Rights, SetEntry, Value
from tests.policy import walk, worlds
from tests.policy.oracle import World
from tests.policy.test_enforcement import Recorder, objects, running, servicer, table, until
from tests.support.api import FaultyApi


class FakeNft:
    """Takes any transaction in which none of the guilty texts stands."""

    def __init__(self) -> None:
        self.guilty: list[str] = []
        self.last = ""
        self.runs = 0

    def run(self, commands: str) -> None:
        if "table ip6" in commands:
            return
        self.runs += 1
        if any(re.search(guilty, commands) for guilty in self.guilty):
            raise NftablesError("Numerical result out of range")
        self.last = commands

    def close(self) -> None:
        pass


class Quiet:
    """What else a table has, with nothing behind it; changes are refused, so that each table is written whole."""

    port = 0

    def __init__(self, *_: object) -> None:
        pass

    def commit(self, _: bytes) -> None:
        raise OSError(1, "refused")

    def learn_port(self) -> int:
        return 0

    def close(self) -> None:
        pass


@pytest.fixture
def nft(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNft]:
    made = FakeNft()
    monkeypatch.setattr(kernel, "Nftables", lambda: made)
    for name in ("NetlinkConnection", "TableWatcher", "BridgeCalls"):
        monkeypatch.setattr(kernel, name, Quiet)
    yield made


def policy(number: int, **spec: Any) -> Any:
    selector = {"matchLabels": {"app": f"app-{number}"}}
    ingress = [{"from": [{"ipBlock": {"cidr": f"203.0.{number}.0/24"}}], "ports": [{"port": 1000 + number}]}]
    return worlds.policy_of({"name": f"policy-{number}", "spec": {"podSelector": selector, "ingress": ingress, **spec}})


def world(count: int = 8) -> World:
    pods = [
        worlds.pod("default", f"pod-{number}", {"app": f"app-{number}"}, "node-0", f"10.244.0.{10 + number}") for number in range(count)
    ]
    return World({"default": {}}, pods, [policy(number) for number in range(count)])


def engine_of(found: World) -> PolicyEngine:
    made = PolicyEngine("node-0")
    walk.fill(made, found)
    made.settle()
    return made


def entry_for(engine: PolicyEngine, kind: type[Rights] | type[BlockPeer], text: str) -> tuple[Entry, Value]:
    return next((entry, value) for entry, value in engine.entries.items() if isinstance(value, kind) and text in str(value))


@pytest.mark.parametrize("guilty", [["dport 1003"], ["dport 1000"], ["dport 1007"], ["dport 1001", "dport 1006"], ["203.0.4.0"]])
def test_what_is_refused_is_shut_off_alone(nft: FakeNft, guilty: list[str]) -> None:
    engine = engine_of(world())
    nft.guilty = guilty
    made = PolicyTable("knarr-policy", "knarr0")
    assert made.apply(dict(engine.entries))
    assert len(made.refused) == len(guilty)
    for number in range(8):
        shut = any(text in (f"dport {1000 + number}", f"203.0.{number}.0") for text in guilty)
        assert (f"dport {1000 + number}" in nft.last and f"203.0.{number}.0" in nft.last) is not shut
        # The pod is isolated all the same.
        assert f"10.244.0.{10 + number} : jump ingress-" in nft.last
    for entry in made.refused:
        assert len(engine.policies_behind(entry)) == 1
        if isinstance(entry, ChainEntry):
            assert f"add rule ip knarr-policy {entry.name} drop" in nft.last


def test_a_later_policy_that_is_refused_leaves_the_others(nft: FakeNft) -> None:
    found = world(3)
    engine = engine_of(found)
    made = PolicyTable("knarr-policy", "knarr0")
    made.apply(dict(engine.entries))
    assert not made.refused
    nft.guilty = ["dport 9999"]
    found.policies[1] = policy(1, ingress=[{"ports": [{"port": 9999}]}])
    after = engine_of(found)
    changes = {entry: after.entries.get(entry) for entry in {*engine.entries, *after.entries}}
    made.apply(changes)
    [refused] = made.refused
    assert after.policies_behind(refused) == {("default", "policy-1")}
    assert "dport 1000" in nft.last and "dport 1002" in nft.last


def test_it_is_tried_again_when_it_changes_and_now_and_then(nft: FakeNft, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_of(world(3))
    nft.guilty = ["dport 1001"]
    now = 100.0
    monkeypatch.setattr(kernel, "monotonic", lambda: now)
    made = PolicyTable("knarr-policy", "knarr0")
    made.apply(dict(engine.entries))
    runs = nft.runs
    assert not made.apply({}) and nft.runs == runs
    nft.guilty = []
    now += kernel.RETRY_SECONDS
    assert made.apply({}) and not made.refused and "dport 1001" in nft.last


def test_a_kernel_that_takes_nothing_blames_nobody(nft: FakeNft) -> None:
    engine = engine_of(world(3))
    nft.guilty = ["table"]
    made = PolicyTable("knarr-policy", "knarr0")
    with pytest.raises(NftablesError):
        made.apply(dict(engine.entries))
    assert not made.refused
    nft.guilty = []
    assert made.apply({}) and "dport 1001" in nft.last


async def test_its_policy_is_told() -> None:
    api, found = FaultyApi(), world(3)
    api.seed(*objects(found))
    recorder = Recorder()
    async with running(api, recorder) as enforcement:
        await until(lambda: len(enforcement.in_force_since) == 3)
        entry, _ = entry_for(enforcement.engine, Rights, "1001")
        table(enforcement).refused = {entry: "no room"}
        api.seed(walk.policy(policy(7)))
        await until(lambda: enforcement.refused)
        words = "the kernel refuses its rules, so its pods are shut off in that direction: no room"
        assert enforcement.refused == {("default", "policy-1"): words}
        assert ("policy-1", "NotEnforced", f"Node node-0: {words}") in recorder.events
        answer = await servicer(enforcement).GetPolicies(messages.GetPoliciesRequest(), None)
        assert [policy.name for policy in answer.policies if list(policy.problems) == [words]] == ["policy-1"]


def test_sets_lead_to_their_policies() -> None:
    engine = engine_of(world(3))
    entry, _ = entry_for(engine, BlockPeer, "203.0.2.0")
    assert isinstance(entry, SetEntry) and engine.policies_behind(entry) == {("default", "policy-2")}
