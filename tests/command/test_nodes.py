"""``knarr node``: nodes come and go in a cluster that runs, with their pods or without; what is interrupted is taken back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.objects.hollow import node_name
from knarr.objects.owners import owner_reference
from knarr.service.errors import CommandError
from services.command import main as cli
from services.command import nodes
from services.command.api import ApiClient, Refused
from services.standalone import process
from services.standalone.hollow import node_numbers
from services.standalone.in_process import InProcess
from services.standalone.settings import ClusterSettings
from tests.standalone.test_in_process import client_of, settings_in


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    settings = settings_in(tmp_path_factory.mktemp("nodes"))
    settings.files.prepare()
    settings.save()
    made = InProcess(settings, without=frozenset({"proxy", "dns", "cloud"}))
    made.start()
    process.write_pid(settings.files)
    yield made
    made.stop()


@pytest.fixture
def settings(within: InProcess) -> Iterator[ClusterSettings]:
    """Those of a cluster with its own node alone."""
    found = within.cluster._chosen
    yield found
    names = [node_name(number) for number in node_numbers(ClusterSettings.saved(found.data_dir))]
    if names:
        nodes.remove(found, names, force=True, timeout_seconds=1, tell=silent)


def silent(done: int, total: int) -> None:
    """Who tells nobody."""


def names(settings: ClusterSettings) -> list[str]:
    return [node.name for node in nodes.listed(settings)]


def pod(within: InProcess, name: str, node: int, *, owned: bool = False) -> None:
    made = core.Pod(metadata=meta.ObjectMeta(name=name, namespace="default"))
    made.spec.node_name = node_name(node)
    made.spec.termination_grace_period_seconds = 0
    made.spec.containers.add(name="app", image="app:1")
    if owned:
        of = within.call(client_of(within).create(core.ConfigMap(metadata=meta.ObjectMeta(generate_name="owner-", namespace="default"))))
        made.metadata.owner_references.append(owner_reference(of))
    within.call(client_of(within).create(made))


def test_nodes_are_added_and_removed_while_it_runs(settings: ClusterSettings) -> None:
    heard: list[tuple[int, int]] = []
    assert nodes.add(settings, 2, lambda done, total: heard.append((done, total))) == [node_name(1), node_name(2)]
    assert heard[0] == (0, 2)
    found = nodes.listed(settings)
    assert [node.name for node in found] == ["node", node_name(1), node_name(2)]
    assert all(node.ready and node.schedulable and node.simulated for node in found)
    assert found[0].roles == ["control-plane"] and found[1].pod_range == "10.244.1.0/24"
    assert nodes.remove(settings, [node_name(1)], force=False, timeout_seconds=20, tell=silent) == [node_name(1)]
    assert names(settings) == ["node", node_name(2)]
    assert node_numbers(ClusterSettings.saved(settings.data_dir)) == (2,), "the next start has them, too"
    assert "hollow" in settings.files.read_state()["components"]
    assert nodes.add(settings, 1, silent) == [node_name(1)]


def test_pods_go_before_their_node_does(within: InProcess, settings: ClusterSettings) -> None:
    nodes.add(settings, 1, silent)
    pod(within, "alone", 1)
    with pytest.raises(CommandError, match="nobody would make these pods anew elsewhere: default/alone; delete them, or give --force"):
        nodes.remove(settings, [node_name(1)], force=False, timeout_seconds=20, tell=silent)
    assert [node.schedulable for node in nodes.listed(settings)] == [True, True]
    within.call(client_of(within).delete(core.Pod, "alone", "default", grace_period_seconds=0))
    pod(within, "owned", 1, owned=True)
    nodes.remove(settings, [node_name(1)], force=False, timeout_seconds=20, tell=silent)
    assert not within.call(client_of(within).list(core.Pod, "default")).items


def test_who_is_interrupted_leaves_everything_as_it_was(within: InProcess, settings: ClusterSettings) -> None:
    def interrupts(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        nodes.add(settings, 2, interrupts)
    assert node_numbers(ClusterSettings.saved(settings.data_dir)) == ()
    nodes.add(settings, 1, silent)
    assert names(settings) == ["node", node_name(1)]
    pod(within, "owned", 1, owned=True)
    with pytest.raises(KeyboardInterrupt):
        nodes.remove(settings, [node_name(1)], force=False, timeout_seconds=20, tell=interrupts)
    assert [node.schedulable for node in nodes.listed(settings)] == [True, True]
    assert node_numbers(ClusterSettings.saved(settings.data_dir)) == (1,)
    # With force its pods end with it.
    nodes.remove(settings, [node_name(1)], force=True, timeout_seconds=1, tell=silent)
    assert names(settings) == ["node"] and not within.call(client_of(within).list(core.Pod, "default")).items


def test_a_budget_is_waited_for_and_named(within: InProcess, settings: ClusterSettings) -> None:
    nodes.add(settings, 1, silent)
    pod(within, "owned", 1, owned=True)

    def refused(self: Any, method: str, path: str, *more: Any, **options: Any) -> bytes:
        if path.endswith("/eviction"):
            raise Refused(nodes.TOO_MANY, "the budget forbids it")
        return text(self, method, path, *more, **options)

    text = ApiClient.text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ApiClient, "text", refused)
        with pytest.raises(CommandError, match=r"1 pods are still there .* default/owned among them \(the budget forbids it\)"):
            nodes.remove(settings, [node_name(1)], force=False, timeout_seconds=0.2, tell=silent)
    assert [node.schedulable for node in nodes.listed(settings)] == [True, True]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("node", "node is the cluster's own node; `knarr down` stops the cluster"),
        (node_name(9), f"{node_name(9)} is no node; those that `knarr node` has added: none"),
    ],
)
def test_only_what_was_added_is_removed(settings: ClusterSettings, name: str, words: str) -> None:
    with pytest.raises(CommandError, match=words):
        nodes.remove(settings, [name], force=True, timeout_seconds=1, tell=silent)


def test_no_more_are_added_than_there_are_addresses_for(settings: ClusterSettings) -> None:
    with pytest.raises(CommandError, match="is enough for 256 nodes; `knarr down`, then `knarr up --nodes 257` has a larger one"):
        nodes.add(settings, 256, silent)
    assert node_numbers(ClusterSettings.saved(settings.data_dir)) == ()


def test_a_cluster_with_containers_takes_machines(settings: ClusterSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("containerd", "docker"):
        made = partial(ClusterSettings, runtime=other, datapath="userspace")
        monkeypatch.setattr(ClusterSettings, "saved", classmethod(lambda cls, folder, made=made: made(data_dir=folder)))
        with pytest.raises(CommandError, match=rf"this one has the runtime {other}: .*; add machines"):
            nodes.add(settings, 1, silent)


def test_simulated_nodes_are_not_switched_off(settings: ClusterSettings) -> None:
    nodes.add(settings, 1, silent)
    with pytest.raises(CommandError, match="simulated nodes have no power to lose; --hollow-faults FILE"):
        nodes.switch(settings, [node_name(1)], on=False, tell=silent)
    assert ClusterSettings.saved(settings.data_dir).stopped_nodes == ""


def test_none_that_runs_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"no cluster runs from .*; start it first: `knarr up`"):
        nodes.listed(ClusterSettings(data_dir=tmp_path))


def test_facts_for_programs(settings: ClusterSettings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments, shape in (
        (["add"], {"added": [node_name(1)]}),
        (["remove", node_name(1)], {"removed": [node_name(1)]}),
    ):
        monkeypatch.setattr("sys.argv", ["knarr", "node", *arguments, "--data-dir", str(settings.data_dir), "-o", "json"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code and json.loads(capsys.readouterr().out) == shape
    monkeypatch.setattr("sys.argv", ["knarr", "node", "list", "--data-dir", str(settings.data_dir), "-o", "json"])
    with pytest.raises(SystemExit):
        cli.main()
    (own,) = json.loads(capsys.readouterr().out)
    assert set(own) == {"name", "ready", "schedulable", "roles", "simulated", "cpu", "memory", "pods", "pod_range"}
    assert own["cpu"] == 1000 * (os.cpu_count() or 1) and own["memory"] > 1 << 30
