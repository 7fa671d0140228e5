"""What a container says last: its message file, or by its policy the end of its log."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.termination import termination_message
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import EXITED, Container, LogOptions, RuntimeFailure

FILE, FALLBACK = "File", "FallbackToLogsOnError"
LOG = b"one\ntwo\n"


class Logging(HollowRuntime):
    """Whose containers have all said ``said``; None: their logs cannot be read."""

    def __init__(self, said: bytes | None) -> None:
        super().__init__("10.244.0.0/24")
        self.said = said
        self.asked: list[LogOptions] = []

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        self.asked.append(options)
        if self.said is None:
            raise RuntimeFailure("the log is gone")
        for start in range(0, len(self.said), 1000):
            yield self.said[start : start + 1000]


@pytest.mark.parametrize(
    ("file", "policy", "exit_code", "log", "told"),
    [
        (b"farewell", FILE, 0, LOG, "farewell"),
        (b"farewell", FALLBACK, 1, LOG, "farewell"),
        (b"", FILE, 1, LOG, ""),
        (b"", FALLBACK, 0, LOG, ""),
        (b"", FALLBACK, 1, LOG, "one\ntwo\n"),
        (None, FALLBACK, 1, LOG, "one\ntwo\n"),
        (None, FILE, 1, LOG, ""),
        (b"", FALLBACK, 1, None, ""),
        (b"a" + b"b" * 4096, FILE, 0, LOG, "b" * 4096),
        (b"", FALLBACK, 1, b"a" + b"b" * 2048, "b" * 2048),
        (b"\xff!", FILE, 0, LOG, "\ufffd!"),
    ],
)
async def test_the_last_words(tmp_path: Path, file: bytes | None, policy: str, exit_code: int, log: bytes | None, told: str) -> None:
    directory, runtime = PodDirectory(tmp_path, "uid"), Logging(log)
    directory.prepare_container("app", 2)
    path = directory.termination_log("app", 2)
    if file is None:
        path.unlink()
    else:
        path.write_bytes(file)
    spec = core.Container(name="app", termination_message_policy=policy)
    ended = Container("id", "app", 2, EXITED, "app:1", "", "", 0, None, exit_code=exit_code)
    assert await termination_message(runtime, directory, spec, ended) == told
    # The last lines alone are asked for: a log may be large.
    assert [options.tail_lines for options in runtime.asked] == ([80] if policy == FALLBACK and exit_code and not file else [])


class Endless(HollowRuntime):
    """Whose containers have said one line that is larger than all that a node has to remember."""

    async def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        for number in range(200):
            yield b"%03d" % number * 100_000


async def test_of_a_line_without_end_no_more_is_remembered_than_is_told(tmp_path: Path) -> None:
    runtime, directory = Endless("10.244.0.0/24"), PodDirectory(tmp_path, "uid")
    spec = core.Container(name="app", termination_message_policy=FALLBACK)
    ended = Container("id", "app", 2, EXITED, "app:1", "", "", 0, None, exit_code=1)
    tracemalloc.start()
    try:
        message = await termination_message(runtime, directory, spec, ended)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert message == ("199" * 1000)[-2048:] and peak < 5_000_000
