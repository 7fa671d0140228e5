"""The policies' table in the kernel: both ways of writing it mean the same, it is restored, and it is the only one touched."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator

import pytest

from services.proxy.policy import language, messages
from services.proxy.policy.engine import PolicyEngine
from services.proxy.policy.facts import DnsFacts
from services.proxy.policy.kernel import PolicyTable, remove_policies
from services.proxy.policy.model import Changes, Entry, Value, always_there, patch, steps
from tests.policy import walk, worlds
from tests.policy.test_engine_against_oracle import change
from tests.proxy.laboratory import Namespace, ip

pytestmark = pytest.mark.net
NAME, BRIDGE = "knarr-policy", "knarr0"
DNS = DnsFacts("kube-system", {"k8s-app": "kube-dns"}, ("10.96.0.10",), {("dns", "udp"): 53, ("dns-tcp", "tcp"): 53})


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace()
    with made.entered():
        yield made
    made.close()


@pytest.fixture
def table(namespace: Namespace) -> Iterator[PolicyTable]:
    made = PolicyTable(NAME, BRIDGE)
    yield made
    made.close()


def listed(name: str = NAME) -> list[str]:
    """The table's parts in a fixed order, elements too; rules in that of their chain."""
    shown = subprocess.run(["nft", "-j", "list", "table", "ip", name], capture_output=True, text=True, check=True, timeout=20).stdout
    parts: dict[str, list[str]] = {}
    for entry in json.loads(shown)["nftables"][2:]:
        ((kind, body),) = entry.items()
        for field in ("handle", "table"):
            body.pop(field, None)
        body["elem"] = sorted(map(json.dumps, body.get("elem", [])))
        parts.setdefault(body.get("chain") or body["name"], []).append(json.dumps([kind, body], sort_keys=True))
    return [text for place in sorted(parts) for text in (parts[place] if kind_has_order(parts[place]) else sorted(parts[place]))]


def kind_has_order(texts: list[str]) -> bool:
    return any(text.startswith('["rule"') for text in texts)


def delta(engine: PolicyEngine) -> Changes:
    return {entry: engine.entries.get(entry) for entry in engine.settle()}


@pytest.mark.parametrize("seed", range(6))
def test_changes_lead_to_what_the_whole_says(table: PolicyTable, seed: int) -> None:
    dice, world, engine = random.Random(seed), worlds.cluster(), PolicyEngine()
    engine.put_dns(DNS)
    walk.fill(engine, world)
    table.apply(delta(engine))
    for _ in range(15):
        change(dice, world, {"": engine})
        table.apply(delta(engine))
        assert table._programmed
    after = listed()
    subprocess.run(["nft", "-f", "-"], input=language.whole("other", BRIDGE, engine.entries), text=True, check=True, timeout=20)
    assert after == listed("other")


def test_messages_and_commands_mean_the_same(table: PolicyTable) -> None:
    entries: dict[Entry, Value] = always_there()
    world, engine = worlds.cluster(), PolicyEngine()
    engine.put_dns(DNS)
    subprocess.run(["nft", "-f", "-"], input=language.skeleton("other", BRIDGE), text=True, check=True, timeout=20)
    table.apply({})
    for number, policies in enumerate(worlds.recipes().values()):
        world.policies = policies
        walk.fill(engine, world)
        changes = delta(engine)
        found = steps(entries, changes)
        patch(entries, changes)
        table.apply(changes)
        commands = "".join(language.as_text("other", step) for step in found)
        subprocess.run(["nft", "-f", "-"], input=commands, text=True, check=True, timeout=20)
        if number % 6 == 5:
            assert listed() == listed("other")
    assert listed() == listed("other")


def test_a_flushed_table_is_noticed_and_written_anew(table: PolicyTable) -> None:
    engine, world = PolicyEngine(), worlds.cluster()
    world.policies = worlds.recipes()["address block with exceptions"]
    walk.fill(engine, world)
    table.apply(delta(engine))
    before = listed()
    assert not table.notice()
    for command in (
        ["flush", "ruleset"],
        ["flush", "table", "ip", NAME],
        ["flush", "set", "ip", NAME, "known"],
        ["delete", "table", "ip", NAME],
    ):
        subprocess.run(["nft", *command], check=True, timeout=20)
        assert table.notice()
        assert table.apply({})
        assert listed() == before
        assert not table.notice()


def test_a_change_of_what_others_broke_is_made_all_the_same(table: PolicyTable) -> None:
    engine, world = PolicyEngine(), worlds.cluster()
    walk.fill(engine, world)
    table.apply(delta(engine))
    subprocess.run(["nft", "flush", "ruleset"], check=True, timeout=20)
    world.policies = worlds.recipes()["deny all ingress of a namespace"]
    walk.fill(engine, world)
    table.apply(delta(engine))
    subprocess.run(["nft", "-f", "-"], input=language.whole("other", BRIDGE, engine.entries), text=True, check=True, timeout=20)
    assert listed() == listed("other")


def test_tables_of_others_stay_and_removal_is_safe_twice(table: PolicyTable) -> None:
    subprocess.run(["nft", "-f", "-"], input="table ip other { chain c { counter; }; }", text=True, check=True, timeout=20)
    other = listed("other")
    table.apply(dict(always_there()))
    remove_policies(NAME)
    remove_policies(NAME)
    assert "knarr" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True, timeout=20).stdout
    assert listed("other") == other


def test_it_holds_everything_until_the_first_table_but_leaves_a_predecessors(table: PolicyTable) -> None:
    table.hold()
    assert not table.notice()
    assert "drop" in "".join(listed())
    table.apply({})
    open_ = listed()
    assert "drop" not in "".join(open_)
    table.hold()
    assert listed() == open_


def test_a_change_too_large_for_a_socket_is_written_whole(table: PolicyTable, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(found: object) -> None:
        raise OSError(90, "Message too long")

    table.apply({})
    engine, world = PolicyEngine(), worlds.cluster()
    world.policies = worlds.recipes()["deny all ingress of a namespace"]
    walk.fill(engine, world)
    monkeypatch.setattr(table._netlink, "commit", too_much)
    assert table.apply(delta(engine))
    assert table._programmed and "drop" in "".join(listed())


@pytest.mark.parametrize("setting", ["0", "1"])
def test_bridged_packets_are_seen_by_the_setting_or_by_the_bridges_attribute(namespace: Namespace, setting: str) -> None:
    subprocess.run(["sysctl", "-qw", f"net.bridge.bridge-nf-call-iptables={setting}"], check=True, timeout=10)
    ip(f"link add {BRIDGE} type bridge", "link add other type bridge")
    table = PolicyTable(NAME, BRIDGE)
    try:
        assert table.ensure_seen() == table.ensure_seen() == ""
    finally:
        table.close()
    shown = {
        name: subprocess.run(["ip", "-d", "link", "show", name], capture_output=True, text=True, check=True, timeout=10).stdout
        for name in (BRIDGE, "other")
    }
    assert ("nf_call_iptables 1" in shown[BRIDGE]) == (setting == "0")
    assert "nf_call_iptables 0" in shown["other"]


def test_pods_find_no_way_around_by_ipv6(namespace: Namespace, table: PolicyTable) -> None:
    table.apply({})
    rules = subprocess.run(["nft", "list", "table", "ip6", NAME], capture_output=True, text=True, check=True, timeout=10).stdout
    assert f'iifname "{BRIDGE}" drop' in rules and f'oifname "{BRIDGE}" drop' in rules
    subprocess.run(["nft", "delete", "table", "ip6", NAME], check=True, timeout=10)
    assert table.notice() and table.apply({})
    subprocess.run(["nft", "list", "table", "ip6", NAME], capture_output=True, check=True, timeout=10)
    remove_policies(NAME)
    assert subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True, timeout=10).stdout == ""


def test_encoding_groups_elements() -> None:
    engine, world = PolicyEngine(), worlds.cluster()
    world.policies = worlds.recipes()["deny all ingress of a namespace"]
    walk.fill(engine, world)
    found = messages.encode(NAME, steps({}, {entry: engine.entries[entry] for entry in engine.settle() if entry in engine.entries}))
    assert len(found) < 12
