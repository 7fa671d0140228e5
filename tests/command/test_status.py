"""``knarr status``: what runs and how it is, for people and for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.command import main as cli
from services.command.status import status_of
from services.standalone import process
from services.standalone.in_process import InProcess
from services.standalone.settings import ClusterSettings
from tests.standalone.test_in_process import settings_in

SERVING_SECONDS = 20.0
NOTHING = {"pid": 0, "server": "", "node": "", "runtime": "", "datapath": "", "components": []}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    settings = settings_in(tmp_path_factory.mktemp("status"))
    made = InProcess(settings, without=frozenset({"proxy", "dns", "cloud", "gateway"}))
    made.start()
    process.write_pid(settings.files)
    # The node may be ready before the last component serves.
    deadline = time.monotonic() + SERVING_SECONDS
    while not status_of(settings).good and time.monotonic() < deadline:
        time.sleep(0.05)
    yield made
    made.stop()


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    monkeypatch.setattr("sys.argv", ["knarr", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0), capsys.readouterr().out


def facts(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code, text = run(["status", "--data-dir", str(folder), "-o", "json"], monkeypatch, capsys)
    return code, json.loads(text)


def test_what_runs_is_told_with_each_component(
    running: InProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = running.cluster._files
    code, found = facts(files.root, monkeypatch, capsys)
    assert code == 0 and found["state"] == "running" and found["node"] == "node" and found["server"].startswith("https://127.0.0.1:")
    assert (found["runtime"], found["datapath"], found["folder"]) == ("hollow", "userspace", str(files.root))
    assert sorted(one["component"] for one in found["components"]) == ["apiserver", "controller", "kubelet", "scheduler"]
    assert all(set(one) == {"component", "address", "answer", "serving"} and one["serving"] for one in found["components"])
    code, text = run(["status", "--data-dir", str(files.root)], monkeypatch, capsys)
    assert code == 0 and "hollow runtime, userspace datapath" in text and text.count("SERVING") == 4
    # `up` answers the same of one that runs, and where to find it.
    code, text = run(["up", "--data-dir", str(files.root), "-o", "json"], monkeypatch, capsys)
    assert code == 0 and json.loads(text) == {**found, "kubeconfig": str(files.kubeconfig)}


def test_a_component_that_is_away_is_an_exit_code(
    running: InProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = running.cluster._files
    state = files.read_state()
    state["components"] |= {"scheduler": "127.0.0.1:1"}
    monkeypatch.setattr(type(files), "read_state", lambda self: state)
    code, found = facts(files.root, monkeypatch, capsys)
    (away,) = [one for one in found["components"] if not one["serving"]]
    assert code == 1 and away["component"] == "scheduler" and away["answer"].startswith("no answer: ")


def test_what_does_not_run_has_the_same_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = facts(tmp_path, monkeypatch, capsys)
    assert code == 1 and found == {"state": "stopped", "folder": str(tmp_path), "log": str(tmp_path / "knarr.log"), **NOTHING}
    process.write_pid(ClusterSettings(data_dir=tmp_path).files)
    code, found = facts(tmp_path, monkeypatch, capsys)
    assert code == 1 and found["state"] == "starting" and found["pid"] > 0 and set(found) == {"state", "folder", "log", *NOTHING}
    assert "is starting" in run(["status", "--data-dir", str(tmp_path)], monkeypatch, capsys)[1]


def test_a_foreground_has_no_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--data-dir", str(tmp_path / "d"), "--foreground", "-o", "json"], monkeypatch, capsys)[0] == 2
    assert not (tmp_path / "d").exists()
