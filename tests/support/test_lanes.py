"""No test is left out because its marker stands elsewhere, and what runs beside others is on a machine of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cluster_client import ROOT
from tests.support.lanes import LANES, hidden


@dataclass(frozen=True)
class Marker:
    name: str


@dataclass(frozen=True)
class Test:
    path: Path
    marker: str

    __test__ = False

    def iter_markers(self) -> list[Marker]:
        return [Marker(self.marker)]


@pytest.mark.parametrize(("text", "found"), [("pytestmark = pytest.mark.docker", 0), ("from elsewhere import pytestmark", 1)])
def test_a_marker_that_another_file_gives_is_named(tmp_path: Path, text: str, found: int) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(text)
    assert len(hidden([Test(path, "docker"), Test(path, "docker"), Test(path, "etcd")])) == found


def test_the_lanes_of_the_script_are_these() -> None:
    text = (ROOT / "scripts/test.sh").read_text()
    (plain,) = re.findall(r"plain\) markers='not \((.*)\)'", text)
    assert set(plain.split(" or ")) == LANES
    sought = re.findall(r"grep -rlE 'mark\\\.\(?([\w|]+)\)?\\b'", text)
    assert {name for names in sought for name in names.split("|")} == LANES


SCRIPT = str(ROOT / "scripts/lane.sh")


@pytest.mark.net
@pytest.mark.docker
def test_a_machine_of_its_own_ends_with_its_command(tmp_path: Path) -> None:
    """Its network, engine and processes are others, and nothing of it stays; how the command ended is told."""
    tell = (
        "docker info --format '{{.DockerRootDir}}'; docker ps -aq | wc -l; readlink /proc/self/ns/net; ls /sys/class/net | grep -cx uplink"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "DOCKER_HOST": "unix:///nowhere"}
    command = [SCRIPT, "bash", "-c", f"{tell}; sleep 1000 & exit 3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    assert done.returncode == 3, done.stderr
    root, containers, network, uplinks = done.stdout.split()
    assert Path(root).is_relative_to(tmp_path) and containers == "0"
    assert network != str(Path("/proc/self/ns/net").readlink()) and uplinks == "1"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.net
@pytest.mark.docker
def test_a_machine_that_is_no_longer_wanted_leaves_nothing(tmp_path: Path) -> None:
    command = [SCRIPT, "bash", "-c", "echo here; exec sleep 1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
        assert process.stdout is not None and process.stdout.readline() == b"here\n"
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert list(tmp_path.iterdir()) == []
