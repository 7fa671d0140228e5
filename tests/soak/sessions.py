"""Commands that are begun and left: ``python -m tests.soak.sessions --sessions 10000``, and what is there after them.

A kubelet serves them over its HTTPS, in this process, so that its tasks and descriptors can be told by name; the containers are scripted,
or with ``--docker`` those of an engine. Clients of both dialects leave in every way: politely, in the midst of output or input, and before
they have heard an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from websockets.exceptions import ConnectionClosed

from services.kubelet.node.mounts import unmount_all
from tests.apiserver.rest.streams.flood import over_spdy
from tests.kubelet.docker_support import docker, unique_settings
from tests.kubelet.support import make_pod
from tests.kubelet.web.served import TOKEN, ScriptedRuntime, Served, serving
from tests.soak.checkers import left, of_process, resident_bytes, snapshot
from tests.soak.outcome import Outcome, exit_code

# Those of the first sessions that a kubelet has had bring what it keeps for ever.
WARM_SHARE, AT_ONCE = 0.1, 16
REST_SECONDS = 20.0
PATH = "/exec/default/web/app?input=1&output=1&error=1&"
PROTOCOL = "v5.channel.k8s.io"


@dataclass(frozen=True, slots=True)
class Report(Outcome):
    """Memory is that after the first sessions, and after the last ones."""

    sessions: int

    def __str__(self) -> str:
        return self.told(f"{self.sessions} sessions")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the commands run, the words of one that says what it hears, and what else may be left of them, by name."""

    served: Served
    command: str
    others: Callable[[], Counter[str]]

    def found(self) -> dict[str, Counter[str]]:
        return snapshot(of_process()) | {"command": self.others()}


Leaver = Callable[[Place], Awaitable[None]]


async def politely(place: Place) -> None:
    async with place.served.socket(PATH + place.command, PROTOCOL) as client:
        await client.send(b"\x00word\n")
        await client.send(b"\xff\x00")
        with suppress(ConnectionClosed):
            while True:
                await client.recv()


async def amid_output(place: Place) -> None:
    async with place.served.socket(PATH + place.command, PROTOCOL) as client:
        await client.send(b"\x00word\n")
        while not (await client.recv())[1:]:
            pass
        client.transport.abort()


async def amid_input(place: Place) -> None:
    async with place.served.socket(PATH + place.command, PROTOCOL) as client:
        await client.send(b"\x00" + b"x" * 8192)
        client.transport.abort()


async def at_once(place: Place) -> None:
    async with place.served.socket(PATH + place.command, PROTOCOL) as client:
        client.transport.abort()


async def unanswered(place: Place) -> None:
    """With the request on its way, and no more."""
    _, writer = await asyncio.open_connection("127.0.0.1", place.served.port, ssl=place.served.context)
    head = f"GET {PATH}{place.command} HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {TOKEN}\r\nConnection: Upgrade\r\n"
    key = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    writer.write(f"{head}{key}Sec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n".encode())
    await writer.drain()
    writer.transport.abort()


async def by_spdy(place: Place) -> None:
    kinds = ("error", "stdout", "stderr", "stdin")
    transport, say = await over_spdy(place.served.port, place.served.context, PATH + place.command, TOKEN, kinds)
    await say()
    transport.abort()


LEAVERS: tuple[Leaver, ...] = (politely, amid_output, amid_input, at_once, unanswered, by_spdy)


async def run(place: Place, sessions: int, tell: Callable[[str], None] = lambda words: None) -> Report:
    """Begins so many and leaves them, AT_ONCE of them at the same time; ``tell`` hears of each tenth part."""
    begun = time.monotonic()
    warm = max(len(LEAVERS), int(sessions * WARM_SHARE))
    await _leave(place, warm)
    before = await _rested(place, {}, 1.0)
    memory, done = resident_bytes(), warm
    while done < sessions:
        part = min(sessions - done, warm)
        await _leave(place, part)
        # Else the scripted ones would be kept to the end: more than what they leave.
        place.others()
        done += part
        tell(f"{done} sessions, {time.monotonic() - begun:.0f} s")
    found = left(before, await _rested(place, before, REST_SECONDS))
    return Report(time.monotonic() - begun, found, memory, resident_bytes(), done)


async def _leave(place: Place, count: int) -> None:
    chosen = iter(itertools.islice(itertools.cycle(LEAVERS), count))

    async def client() -> None:
        for leaver in chosen:
            await leaver(place)

    async with asyncio.TaskGroup() as group:
        for number in range(AT_ONCE):
            group.create_task(client(), name=f"client/{number}")


async def _rested(place: Place, before: dict[str, Counter[str]], seconds: float) -> dict[str, Counter[str]]:
    """What there is when nothing is left any more, or after so long."""
    deadline = time.monotonic() + seconds
    while True:
        found = place.found()
        if (before and not left(before, found)) or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.1)


@asynccontextmanager
async def scripted(data_dir: Path) -> AsyncIterator[Place]:
    """Commands that say what they hear."""
    async with serving(ScriptedRuntime(), data_dir) as served:

        def open_sessions() -> Counter[str]:
            # Those that were closed are nobody's any more.
            served.sessions[:] = [session for session in served.sessions if not session.closed]
            return Counter(session=len(served.sessions))

        yield Place(served, "command=0", open_sessions)


@asynccontextmanager
async def on_docker(data_dir: Path) -> AsyncIterator[Place]:
    """Commands of a container on the machine's engine."""
    pod = make_pod("web")
    async with docker(unique_settings()) as (runtime, _, image):
        pod.spec.containers[0].image = image
        pod.spec.containers[0].command.extend(["sleep", "1000000"])
        pod.spec.termination_grace_period_seconds = 1
        try:
            async with serving(runtime, data_dir, pod) as served:
                yield Place(served, "command=cat", lambda: Counter({"cat": _running(b"cat\0")}))
        finally:
            unmount_all(data_dir)


def _running(words: bytes) -> int:
    """How many processes have this command line."""
    count = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            count += entry.name.isdigit() and (entry / "cmdline").read_bytes() == words
    return count


async def _main(sessions: int, of_docker: bool) -> Report:
    with tempfile.TemporaryDirectory(prefix="knarr-sessions-") as folder:
        async with (on_docker if of_docker else scripted)(Path(folder)) as place:
            return await run(place, sessions, lambda words: print(words, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.sessions", description=__doc__)
    parser.add_argument("--sessions", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--docker", action="store_true", help="commands of a container, not scripted ones")
    arguments = parser.parse_args()
    return exit_code(_main(arguments.sessions, arguments.docker))


if __name__ == "__main__":
    sys.exit(main())
