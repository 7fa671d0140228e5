"""What becomes of commands and connections when their caller leaves: early, late, and while the other side does not read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.service import endings
from knarr.service.spdy import session as spdy
from knarr.service.spdy.connection import Broken, Connection, Left
from services.apiserver.node_streams import GrpcNodeStreams
from services.kubelet.conversation import converse
from services.kubelet.forwarding import relay
from services.kubelet.runtime.cri.streams import StreamedSession, Wire
from services.kubelet.runtime.docker import processes
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound
from services.kubelet.runtime.docker.streams import HijackedSession
from services.kubelet.runtime.port import Container, ExecCheck, RuntimeFailure, RuntimeUnavailable, Session
from services.kubelet.servicer import KubeletServicer
from tests.support.virtual_time import virtual_time

PIECE = b"x" * 65536


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(spdy, "FAREWELL_SECONDS", 0.05)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours, and one that nobody reads."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


class Flood:
    """A caller that says more than anybody takes; ``said`` counts it."""

    def __init__(self, message: Any) -> None:
        self._message, self.said = message, 0

    def __aiter__(self) -> Flood:
        return self

    async def __anext__(self) -> Any:
        self.said += 1
        await asyncio.sleep(0)
        return self._message

    async def held_up(self) -> None:
        """Returns when no more is taken of it."""
        before = -1
        async with asyncio.timeout(5):
            while self.said != before:
                before = self.said
                await asyncio.sleep(0.05)


class Said(Session):
    """What a test needs of a session."""

    def __init__(self) -> None:
        self.closed = 0

    async def read(self) -> tuple[int, bytes] | None:
        return None

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, width: int, height: int) -> None: ...

    async def exit_code(self) -> int:
        return 0

    async def close(self) -> None:
        self.closed += 1


class Gone:
    """A caller that has left by the time that it is to hear the first word."""

    async def send_initial_metadata(self, words: Any) -> None:
        raise asyncio.CancelledError


class OneContainer(KubeletServicer):
    """Whatever is asked for is ``session``, or ``end``."""

    def __init__(self, session: Session, end: socket.socket) -> None:
        self.session, self.end = session, end
        self._runtime: Any = self

    def _running(self, *_: Any) -> Any:
        return Container("c", "c", 0, "running")

    async def exec(self, *_: Any, **__: Any) -> Session:
        return self.session

    attach = exec

    async def dial(self, start: Any) -> socket.socket:
        return self.end


@pytest.mark.parametrize("call", ["Exec", "Attach", "PortForward"])
async def test_a_caller_that_leaves_before_the_first_word(call: str, ends: tuple[socket.socket, socket.socket]) -> None:
    session = Said()
    servicer = OneContainer(session, ends[0])
    request = pb.PortForwardRequest(start=pb.PortForwardStart(port=80)) if call == "PortForward" else pb.ExecRequest(start=pb.ExecStart())

    async def requests() -> AsyncIterator[Any]:
        yield request
        await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        async for _ in getattr(servicer, call)(requests(), Gone()):
            raise AssertionError
    assert ends[0].fileno() == -1 if call == "PortForward" else session.closed == 1


class SlowEngine:
    """Tells of a command's process after ``silent`` questions, and is asked by callers that have no patience."""

    def __init__(self, silent: int) -> None:
        self.silent, self.asked = silent, 0

    async def request(self, method: str, path: str, **_: Any) -> Any:
        if method == "POST":
            return {"Id": "e"}
        self.asked += 1
        return {"ExitCode": None, "Pid": 4711 if self.asked > self.silent else 0}

    async def hijack(self, *_: Any) -> Any:
        await asyncio.Event().wait()


async def test_a_command_ends_whose_caller_leaves_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(processes, "end_processes", lambda pid, container: ended.append(pid))
    monkeypatch.setattr(processes, "pauses", lambda: [0.0] * 90)
    engine: Any = SlowEngine(silent=80)
    found = processes.EngineProcesses(engine, None)  # type: ignore[arg-type]
    calling = asyncio.create_task(found.exec("c", ("sleep",), stdin=False, tty=False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await found.close()
    assert ended == [4711]


class BusyEngine:
    """Refuses the first questions for a command, and then says what ``answer`` says."""

    def __init__(self, refused: list[RuntimeFailure], answer: Any) -> None:
        self.refused, self._answer = refused, answer

    async def request(self, method: str, path: str) -> Any:
        if self.refused:
            raise self.refused.pop(0)
        return self._answer


@pytest.mark.parametrize(
    ("refused", "answer", "wanted", "told"),
    [
        ([RuntimeUnavailable("busy")] * 3, {"ExitCode": None, "Pid": 7}, [7], ""),
        ([RuntimeUnavailable("busy")] * 3, {"ExitCode": 0, "Pid": 7}, [], ""),
        ([EngineNotFound(404, "No such exec instance")], None, [], ""),
        ([RuntimeUnavailable("busy")] * 90, None, [], "was not ended"),
        ([], {"ExitCode": None, "Pid": 0}, [], ""),
    ],
)
async def test_a_command_ends_though_the_engine_is_busy(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refused: list[RuntimeFailure],
    answer: Any,
    wanted: list[int],
    told: str,
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(processes, "end_processes", lambda pid, container: ended.append(pid))
    monkeypatch.setattr(processes, "pauses", lambda: [0.0] * 9)
    engine: Any = BusyEngine(list(refused), answer)
    found = processes.EngineProcesses(engine, None)  # type: ignore[arg-type]
    await found._end("exec/1", "c")
    assert ended == wanted
    assert told in caplog.text if told else not caplog.text


class LateEngine:
    """Whose commands say nothing and have ended, which it hears of after some questions: of these are its answers."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)

    async def request(self, method: str, path: str, **_: Any) -> Any:
        if method == "POST":
            return {"Id": "e"}
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    async def hijack(self, *_: Any) -> Any:
        reader = asyncio.StreamReader()
        reader.feed_eof()
        return reader, SimpleNamespace(close=lambda: None, transport=None)


RUNS, WENT, FAILED = ({"Running": runs, "ExitCode": code, "Pid": 7} for runs, code in ((True, None), (False, None), (False, 5)))


@virtual_time
async def test_how_a_command_ended_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its output ends before that: who took nothing for zero let probes succeed that had failed."""
    ended: list[int] = []
    monkeypatch.setattr(processes, "end_processes", lambda pid, container: ended.append(pid))
    monkeypatch.setattr(endings, "close", lambda _: asyncio.sleep(0))
    engine: Any = LateEngine(*[RUNS] * 100, WENT, FAILED)
    found = processes.EngineProcesses(engine, None)  # type: ignore[arg-type]
    assert not (await found.check("c", ExecCheck(("false",)), 300)).success
    engine.answers = [WENT]
    session = await found.exec("c", ("false",), stdin=False, tty=False)
    assert await session.read() is None
    with pytest.raises(RuntimeFailure, match="how the command ended"):
        await session.exit_code()
    engine.answers = [RUNS]
    # Said nothing more, and runs on: it ends with who waited for it.
    late = await found.check("c", ExecCheck(("sh", "-c", "exec >&-; sleep 1000")), 5)
    assert (late.success, late.output, ended) == (False, 'command "sh -c exec >&-; sleep 1000" timed out', [7])


def test_the_engine_is_asked_for_some_seconds_and_not_too_often() -> None:
    found = list(processes.pauses())
    assert found[0] == 0.02 and sum(found) >= 10 and len(found) < 25


async def closed(ours: socket.socket) -> None:
    async with asyncio.timeout(5):
        while ours.fileno() != -1:  # noqa: ASYNC110  the loop closes it in one of its next turns
            await asyncio.sleep(0)


async def dropped(answers: AsyncIterator[Any], flood: Flood) -> None:
    """The caller goes while it is held up: in time, and nothing of its task stays."""
    async with aclosing(answers):  # type: ignore[type-var]
        waiting = asyncio.ensure_future(anext(answers))
        await flood.held_up()
        waiting.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(waiting, return_exceptions=True)
    assert flood.said * len(PIECE) < 16 << 20


async def test_a_connection_to_a_port_that_is_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    flood = Flood(PIECE)
    await dropped(relay(ends[0], flood), flood)
    await closed(ends[0])


async def test_an_attachment_whose_process_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    async def nothing() -> Any:
        return None

    ends[0].setblocking(False)
    reader, writer = await asyncio.open_unix_connection(sock=ends[0])
    session = HijackedSession(Engine("unix:///nowhere", 1), reader, writer, False, "", nothing, nothing)
    flood = Flood(pb.AttachRequest(stdin=PIECE))
    async with session:
        await dropped(converse(session, flood, pb.AttachResponse), flood)
    await closed(ends[0])


async def test_streams_of_an_engine_that_does_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=ends[0])
    session = StreamedSession(Wire(reader, writer))
    await session.open(stdin=True, tty=False)
    flood = Flood(pb.ExecRequest(stdin=PIECE))
    async with session:
        await dropped(converse(session, flood, pb.ExecResponse), flood)
    await closed(ends[0])


async def test_an_engine_is_told_that_a_session_ends(ends: tuple[socket.socket, socket.socket]) -> None:
    session = StreamedSession(Wire(*await asyncio.open_unix_connection(sock=ends[0])))
    await session.open(stdin=True, tty=False)
    await session.close()
    told = list(Connection().receive(ends[1].recv(65536)))
    assert [event.stream for event in told if isinstance(event, Broken)] == [1, 3, 5, 7]
    assert isinstance(told[-1], Left)


async def test_a_node_that_does_not_read() -> None:
    taken: list[asyncio.StreamWriter] = []
    flood = Flood(PIECE)
    server = await asyncio.start_server(lambda reader, writer: taken.append(writer), "127.0.0.1", 0, limit=1024)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await dropped(GrpcNodeStreams(lambda name, address: None).connect("127.0.0.1", port, flood), flood)
        for writer in taken:
            writer.transport.abort()
