"""A cluster within this process: without etcd, without root, on a clock that is moved."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.objects.conditions import is_true
from knarr.service.authentication import MASTERS, User
from knarr.service.errors import CommandError
from services.standalone import preflight
from services.standalone.backup.backup import backup
from services.standalone.in_process import InProcess
from services.standalone.settings import MEMORY, ClusterSettings, Ports
from services.standalone.store import INSTALL_HINT
from tests.support.cluster_client import ROOT

FREE = Ports(*(0 for _ in Ports.__dataclass_fields__))


def settings_in(folder: Path, **chosen: object) -> ClusterSettings:
    made = {"store": MEMORY, "runtime": "hollow", "datapath": "userspace", "ports": FREE, "node_name": "node", **chosen}
    return ClusterSettings(data_dir=folder / "data", **made)  # type: ignore[arg-type]


@pytest.fixture
def within(tmp_path: Path) -> Iterator[InProcess]:
    made = InProcess(settings_in(tmp_path), without=frozenset({"proxy", "dns", "gateway"}))
    made.start()
    yield made
    made.stop()


def client_of(within: InProcess) -> Client:
    return within.cluster.client(User("test", groups=(MASTERS,)))


def ready(within: InProcess) -> bool:
    return is_true(within.call(client_of(within).get(core.Node, "node")).status, "Ready")


LOADED_BY_A_START = """
import dataclasses, pathlib, sys, tempfile
from services.standalone.in_process import InProcess
from services.standalone.settings import ClusterSettings, Ports

ports = Ports(**{field.name: 0 for field in dataclasses.fields(Ports)})
with tempfile.TemporaryDirectory() as folder:
    settings = ClusterSettings(
        data_dir=pathlib.Path(folder, "k"), store="memory", runtime="hollow", datapath="userspace", ports=ports, audit_log_path="none"
    )
    within = InProcess(settings, without=frozenset({"proxy", "dns", "gateway"}))
    run = within._thread._target
    before = set()
    within._thread._target = lambda: (before.update(sys.modules), run())
    within.start()
    print(*sorted(sys.modules.keys() - before))
    within.stop()
"""


def test_what_a_start_loads_is_told_as_loading() -> None:
    """A start of a cluster for tests is measured from then on."""
    done = subprocess.run([sys.executable, "-c", LOADED_BY_A_START], capture_output=True, text=True, check=True, cwd=ROOT, timeout=100)
    assert done.stdout.split() == []


def test_a_node_that_dies_is_missed_in_its_time_and_welcomed_when_it_comes_back(within: InProcess) -> None:
    within.advance(300)
    assert ready(within)
    within.call(_turn(within, on=False))
    within.advance(30)
    assert ready(within)
    within.advance(30)
    assert not ready(within)
    within.call(_turn(within, on=True))
    # What a kubelet does in threads as it starts takes the machine's own time, which may be more than is passed over at once.
    for _ in range(6):
        within.advance(10)
        if ready(within):
            break
    assert ready(within)


async def _turn(within: InProcess, *, on: bool) -> None:
    within.cluster.turn("kubelet", on=on)


def test_what_is_stamped_goes_by_the_clock_that_was_moved(within: InProcess) -> None:
    async def stamp(name: str) -> int:
        made = core.Namespace()
        made.metadata.name = name
        return (await client_of(within).create(made)).metadata.creation_timestamp.seconds

    first = within.call(stamp("first"))
    within.advance(3600)
    assert 3600 <= within.call(stamp("second")) - first < 3700


def test_time_does_not_go_back(within: InProcess) -> None:
    with pytest.raises(ValueError, match="goes on only"):
        within.advance(-1)


def test_nothing_of_it_is_left_when_it_has_stopped(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    within = InProcess(settings_in(tmp_path), without=frozenset({"proxy", "dns", "gateway"}))
    within.start()
    within.stop()
    within.stop()
    assert "knarr" not in {thread.name for thread in set(threading.enumerate()) - before}


def test_each_has_a_log_of_its_own_while_it_runs(tmp_path: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("knarr", "services")]
    before = [(list(logger.handlers), logger.propagate) for logger in loggers]
    for name in ("one", "two"):
        made = InProcess(settings_in(tmp_path / name), without=frozenset({"proxy", "dns", "gateway"}))
        made.start()
        logging.getLogger("services.test").warning("said of %s", name)
        made.stop()
        made.stop()
    assert [(list(logger.handlers), logger.propagate) for logger in loggers] == before
    texts = [settings_in(tmp_path / name).files.log.read_text() for name in ("one", "two")]
    assert ["said of one" in text for text in texts] == [True, False] and "said of two" in texts[1]


def test_who_is_interrupted_while_it_starts_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = InProcess(settings_in(tmp_path), without=frozenset({"proxy", "dns", "gateway"}))

    wait = made._ready.wait

    def interrupted(timeout: float) -> bool:
        wait(timeout)
        raise KeyboardInterrupt

    monkeypatch.setattr(made._ready, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "knarr"]


def test_one_that_is_stopped_before_it_began_ends(tmp_path: Path) -> None:
    made = InProcess(settings_in(tmp_path), without=frozenset({"proxy", "dns", "gateway"}))
    made._end()
    with pytest.raises(CommandError, match="did not become ready"):
        made.start()


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    pki = tmp_path / "data/pki"
    pki.mkdir(parents=True)
    (pki / "ca.key").write_text("damaged")
    (pki / "ca.crt").write_text("damaged")
    with pytest.raises(CommandError, match=r"did not become ready: .*ca\.(key|crt)"):
        InProcess(settings_in(tmp_path)).start()


def test_etcd_is_asked_for_by_those_alone_who_keep_their_objects_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert INSTALL_HINT not in list(preflight.problems(settings_in(tmp_path)))
    assert INSTALL_HINT in list(preflight.problems(settings_in(tmp_path, store="etcd")))


def test_a_cluster_in_memory_has_no_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_in(tmp_path)
    settings.files.prepare()
    settings.save()
    monkeypatch.setattr("services.standalone.process.find", lambda files: os.getpid())
    with pytest.raises(CommandError, match="keeps its objects in memory"):
        backup(settings.files, tmp_path / "file")
