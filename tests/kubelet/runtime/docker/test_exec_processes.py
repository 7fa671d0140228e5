"""Ending a command with all that it started, and nobody else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kubelet.runtime.docker.exec_processes import end_processes

# Says what it has started, and waits for it.
SCRIPT = "sleep 1000 & echo $!; sleep 1000 & echo $!; wait"


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    """A session of its own, as the engine gives to what is executed."""
    with subprocess.Popen(["sh", "-c", SCRIPT], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        yield process
        process.kill()


def cgroup(of: int) -> str:
    return Path(f"/proc/{of}/cgroup").read_text()


def children(command: subprocess.Popen[str]) -> list[int]:
    assert command.stdout is not None
    return [int(command.stdout.readline()) for _ in range(2)]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def test_all_that_a_command_started_ends_with_it(command: subprocess.Popen[str]) -> None:
    started = children(command)
    end_processes(command.pid, cgroup(command.pid))
    command.wait(10)
    assert not any(is_alive(pid) for pid in started)


def test_what_is_left_of_a_command_that_ended_goes_too(command: subprocess.Popen[str]) -> None:
    started = children(command)
    command.kill()
    command.wait(10)
    end_processes(command.pid, cgroup(started[0]))
    assert not any(is_alive(pid) for pid in started)


def test_a_process_of_another_container_is_left_alone(command: subprocess.Popen[str]) -> None:
    started = children(command)
    end_processes(command.pid, "0123456789abcdef")
    assert command.poll() is None and all(is_alive(pid) for pid in started)
    end_processes(command.pid, cgroup(command.pid))
