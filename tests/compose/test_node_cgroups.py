"""What a node's machine does to its cgroup before its engine starts: files stand for those of cgroup v2."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.cluster_client import ROOT


def prepare(root: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "ATTEMPTS": "3"}
    command = ["sh", str(ROOT / "deploy/node-cgroups.sh"), str(root)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=20)


def test_processes_go_to_a_leaf_and_controllers_are_handed_on(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu memory pids\n")
    (tmp_path / "cgroup.procs").write_text("1\n7\n42\n")
    assert prepare(tmp_path).returncode == 0
    assert (tmp_path / "init/cgroup.procs").read_text().split() == ["1", "7", "42"]
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpuset +cpu +memory +pids\n"


def test_a_group_that_stays_busy_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu\n")
    (tmp_path / "cgroup.procs").write_text("1\n")
    # Writing fails, as it does while the kernel says that the group is busy.
    (tmp_path / "cgroup.subtree_control").mkdir()
    done = prepare(tmp_path)
    assert done.returncode == 1
    assert f"cannot be handed on: a process stays in {tmp_path}" in done.stderr


def test_cgroup_v1_is_left_as_it_is(tmp_path: Path) -> None:
    assert prepare(tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == []
