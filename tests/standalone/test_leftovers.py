"""Whose something on the machine is, and which clusters live: both sides from which that shows, each alone."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from services.kubelet.cgroups.names import root_of, unit
from services.kubelet.runtime.catalog import bridge_name, network_name
from services.proxy import closed_ranges
from services.proxy.settings import ProxySettings
from services.standalone.datapath import datapath_settings
from services.standalone.fellows.plan import container_name, network_bridge
from services.standalone.fellows.plan import network_name as nodes_network
from services.standalone.leftovers import traces
from services.standalone.leftovers.owner import is_among, living, mark, owner_of
from services.standalone.leftovers.removal import counted
from services.standalone.leftovers.traces import CONTAINER, GROUP, MOUNT, TABLE, Trace
from services.standalone.lock import held
from services.standalone.settings import ClusterSettings

ID = "0badcafe"


def names_of(cluster_id: str, data_dir: Path) -> list[str]:
    """All names that a cluster gives to what it makes on the machine."""
    proxy = ProxySettings(instance=cluster_id)
    settings = ClusterSettings(data_dir=data_dir)
    settings.files.prepare()
    settings.files.identity.write_text(cluster_id)
    device = datapath_settings(settings, among_others=True).vxlan_device
    group = root_of(cluster_id, "node-1.example")
    return [
        *(proxy.table, proxy.policy_table, proxy.pod_table, bridge_name(cluster_id), network_bridge(cluster_id), device),
        *(network_name(cluster_id), nodes_network(cluster_id), container_name(cluster_id, "node-2"), group[0], unit(group[:1])),
    ]


def test_a_name_tells_whose_it_is(tmp_path: Path) -> None:
    assert {owner_of(name) for name in names_of(ID, tmp_path)} == {ID}


@pytest.mark.parametrize(
    "name",
    [
        "knarr",
        "knarr-policy",
        "knarr-pods",
        "knarr0",
        "kn-knarr",
        "knarr-0badcafe0",
        "knarr-0BADCAFE",
        "docker0",
        "my-knarr-0badcafe",
        "kn-",
    ],
)
def test_what_bears_no_clusters_name_is_nobodys(name: str) -> None:
    assert owner_of(name) == ""


def test_a_closed_range_tells_whose_it_is_as_far_as_there_is_room() -> None:
    for lowest in (closed_ranges.DATAPATH, closed_ranges.POD_NETWORK):
        for digits in (ID, "ffffffff", "00000010"):
            found = closed_ranges.preference(lowest, digits)
            assert lowest < found < 1 << 32 and is_among(closed_ranges.instance_of(lowest, found), frozenset({digits}))
        for unnamed in ("", "knarr", "node-1"):
            assert closed_ranges.preference(lowest, unnamed) == lowest and closed_ranges.instance_of(lowest, lowest) == ""
    assert not is_among("0badcaf", frozenset({"0badcae1"}))


def simulated(proc: Path, number: int, command: str, *, network: str = "1", marks: str = "") -> Path:
    """A process in a /proc of a test's own."""
    made = proc / str(number)
    for folder in ("fd", "ns", "net"):
        (made / folder).mkdir(parents=True)
    shared = proc / f"network-{network}"
    shared.touch()
    os.link(shared, made / "ns/net")
    (made / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
    (made / "net/unix").write_text(f"Num RefCount Protocol Flags Type St Inode Path\n{marks}")
    return made


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    made = tmp_path / "proc"
    simulated(made, 1, "init")
    (made / "self").symlink_to("1")
    return made


def folder_of(place: Path, cluster_id: str) -> Path:
    files = ClusterSettings(data_dir=place).files
    files.prepare()
    files.identity.write_text(cluster_id)
    return place


@pytest.mark.parametrize("command", ["python -P -m services.standalone --data-dir=/x", "python -P -m knarr.services.standalone"])
def test_a_cluster_whose_process_holds_its_folder_lives(proc: Path, tmp_path: Path, command: str) -> None:
    """Of a version that made no mark, too, and in another network."""
    process = simulated(proc, 4711, command, network="2")
    (process / "fd/5").symlink_to(folder_of(tmp_path / "cluster", ID))
    (process / "fd/0").symlink_to("/dev/null")
    assert living(proc) == {ID}
    (process / "fd/5").unlink()
    assert living(proc) == frozenset()


def test_a_cluster_whose_mark_is_there_lives(proc: Path) -> None:
    """Of a network of which another process alone is to be seen here."""
    marks = (
        f"0000: 00000002 00000000 00000000 0001 01 4711 @knarr/{ID}\n0000: 00000002 00000000 00000000 0001 01 4712 /run/knarr/01234567\n"
    )
    simulated(proc, 4711, "sleep", network="2", marks=marks)
    assert living(proc) == {ID}


def test_what_a_kubelet_of_its_own_is_told_lives(proc: Path) -> None:
    simulated(proc, 4711, f"python -m services.kubelet --cluster-id {ID}")
    simulated(proc, 4712, "python -m services.proxy --instance=01234567 --other")
    assert living(proc) == {ID, "01234567"}


def test_a_process_that_ends_meanwhile_is_passed_over(proc: Path) -> None:
    shutil.rmtree(simulated(proc, 4711, "sleep") / "ns")
    assert living(proc) == frozenset()


def test_a_mark_is_seen_while_it_is_held_and_by_whoever_looks() -> None:
    own = os.urandom(4).hex()
    shown, other = mark(own), mark(own)
    assert own in living()
    shown.close()
    assert own not in living()
    other.close()


def test_what_is_there_is_of_those_that_do_not_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running, locked, dead, apart = "11111111", "22222222", "33333333", "44444444"
    folder = folder_of(tmp_path / "locked", locked)
    there = [
        *(Trace(owner, TABLE, f"knarr-{owner}") for owner in (running, locked, dead)),
        *(Trace(owner, GROUP, f"knarr_{owner}_n") for owner in (dead, apart)),
        Trace(locked, MOUNT, f"{folder}/kubelet/pods/a", folder),
        Trace(dead[:7], "closed range of addresses", "10.96.0.0/16"),
        Trace("", "closed range of addresses", "10.97.0.0/16"),
    ]
    monkeypatch.setattr(traces, "LOOKS", (lambda: there,))
    monkeypatch.setattr(traces, "living", lambda: frozenset({running}))
    with held(folder):
        found, unseen = traces.leftovers()
    assert [(trace.owner, trace.kind) for trace in found] == [
        (dead, "closed range of addresses"),
        (dead, GROUP),
        (dead, TABLE),
    ]
    assert unseen == []
    assert {trace.owner for trace in traces.leftovers()[0]} == {locked, dead}


def test_an_engine_that_is_not_to_be_seen_here_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As from a container that was given its socket: who uses it lives elsewhere, if anybody does."""
    path = tmp_path / "engine.sock"
    assert not traces._may_judge(f"unix://{path}")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert not traces._may_judge(f"unix://{path}")
        listener.listen()
        assert traces._may_judge(f"unix://{path}")
        monkeypatch.setattr(traces, "peer_of", lambda _: 0)
        with pytest.raises(traces.Unseen, match="is not to be seen from here"):
            traces._may_judge(f"unix://{path}")
    with pytest.raises(traces.Unseen, match="is not of this machine"):
        traces._may_judge("tcp://192.0.2.1:2375")


def test_a_part_that_cannot_be_looked_at_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> list[Trace]:
        raise traces.Unseen("the engine hangs")

    monkeypatch.setattr(traces, "LOOKS", (silent, lambda: [Trace(ID, TABLE, f"knarr-{ID}")]))
    monkeypatch.setattr(traces, "living", frozenset)
    found, unseen = traces.leftovers()
    assert [trace.owner for trace in found] == [ID] and unseen == ["the engine hangs"]
    assert counted([*found, Trace(ID, CONTAINER, "a"), Trace(ID, CONTAINER, "b")]) == "container (2), packet-filter table (1)"
