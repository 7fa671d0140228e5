"""What every runtime promises of processes: their ends, commands beside them, ways in, and who comes to them later. The hollow runtime has
none, and promises to say so."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from services.kubelet.runtime.cri import CriRuntime
from services.kubelet.runtime.docker import DockerRuntime
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.plan import ContainerPlan, PodRef, Process, SandboxPlan
from services.kubelet.runtime.port import EXITED, RUNNING, Container, ExecCheck, LogOptions, Runtime, RuntimeFailure, Sandbox
from tests.kubelet.containerd_support import IMAGE, Containerd, cri
from tests.kubelet.docker_support import docker
from tests.kubelet.support import output_of, until


@dataclass
class Machine:
    """A runtime with a sandbox; ``another`` makes one more on the same engine, as a kubelet that comes anew does."""

    runtime: Runtime
    another: Callable[[], Runtime]
    image: str
    pod: PodRef
    sandbox: Sandbox

    async def run(self, *command: str, stdin: bool = False, name: str = "app", attempt: int = 0) -> Container:
        process = Process(command, stdin=stdin)
        plan = ContainerPlan(self.pod, self.sandbox.id, name, attempt, self.image, "hash", self.sandbox.attempt, process=process)
        made = await self.runtime.create_container(plan)
        await self.runtime.start_container(made, self.pod)
        return made

    def seen(self, name: str = "app", runtime: Runtime | None = None) -> Container:
        observation = (runtime or self.runtime).observe(self.pod.uid)
        found = observation.latest(name) if observation is not None else None
        assert found is not None
        return found

    async def log(self, container: Container, **options: object) -> bytes:
        return b"".join([piece async for piece in self.runtime.logs(container.id, LogOptions(**options))])  # type: ignore[arg-type]


@asynccontextmanager
async def following(runtime: Runtime) -> AsyncIterator[None]:
    await runtime.start()
    task = asyncio.create_task(runtime.run())
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def machine_of(runtime: Runtime, another: Callable[[], Runtime], image: str) -> AsyncIterator[Machine]:
    async with following(runtime):
        pod = PodRef("default", "web", str(uuid.uuid4()))
        yield Machine(runtime, another, image, pod, await runtime.create_sandbox(SandboxPlan(pod, 0, "web")))


@asynccontextmanager
async def machine_named(name: str, request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    if name == "hollow":
        hollow = HollowRuntime("10.244.0.0/24")
        async with machine_of(hollow, lambda: hollow, "app:1") as made:
            yield made
    elif name == "docker":
        async with docker() as (runtime, used, image), machine_of(runtime, lambda: DockerRuntime(used), image) as made:
            yield made
    else:
        containerd: Containerd = request.getfixturevalue("own_containerd")
        async with cri(containerd) as (other, settings), machine_of(other, lambda: CriRuntime(settings), IMAGE) as made:
            yield made


REAL = [pytest.param("docker", marks=pytest.mark.docker), pytest.param("containerd", marks=pytest.mark.docker)]


@pytest.fixture(params=REAL)
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    async with machine_named(request.param, request) as made:
        yield made


@pytest.fixture(params=["hollow", *REAL])
async def any_machine(request: pytest.FixtureRequest) -> AsyncIterator[Machine]:
    async with machine_named(request.param, request) as made:
        yield made


async def test_the_end_of_a_process_is_seen_without_being_asked_for(any_machine: Machine) -> None:
    await any_machine.run("sh", "-c", "exit 3")
    await until(lambda: any_machine.seen().state == EXITED)
    ended = any_machine.seen()
    assert (ended.exit_code, ended.oom_killed, ended.error) == (3, False, "")
    assert ended.started_at is not None and ended.finished_at is not None and ended.finished_at >= ended.started_at


async def test_each_attempt_is_a_container_of_its_own(any_machine: Machine) -> None:
    first = await any_machine.run("true")
    await until(lambda: any_machine.seen().state == EXITED)
    second = await any_machine.run("sleep", "1000", attempt=1)
    assert first.id != second.id and any_machine.seen().attempt == 1 and any_machine.seen().state == RUNNING
    await any_machine.runtime.remove_container(first, any_machine.pod)
    assert any_machine.seen().id == second.id
    # One that runs is removed as well.
    await any_machine.runtime.remove_container(second, any_machine.pod)
    observation = any_machine.runtime.observe(any_machine.pod.uid)
    assert observation is not None and observation.containers == ()


TRAPPING = "trap 'exit 7' TERM; echo trapped; while :; do sleep 0.05; done"


async def test_who_stops_is_given_the_time_to(machine: Machine) -> None:
    polite = await machine.run("sh", "-c", TRAPPING)
    await said(machine, polite, b"trapped\n")
    await machine.runtime.stop_container(polite, machine.pod, 30.0)
    assert (machine.seen().state, machine.seen().exit_code) == (EXITED, 7)
    deaf = await machine.run("sh", "-c", TRAPPING.replace("exit 7", ""), name="deaf")
    await said(machine, deaf, b"trapped\n")
    await machine.runtime.stop_container(deaf, machine.pod, 1.0)
    assert (machine.seen("deaf").state, machine.seen("deaf").exit_code) == (EXITED, 137)


async def said(machine: Machine, container: Container, words: bytes) -> None:
    async def is_there() -> bool:
        return words in await machine.log(container)

    await asked_until(is_there)


async def asked_until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_commands_have_their_streams_and_their_exit_code(machine: Machine) -> None:
    main = await machine.run("sleep", "1000")
    async with await machine.runtime.exec(main.id, ("sh", "-c", "cat; echo bad >&2; exit 5"), stdin=True, tty=False) as session:
        given = bytes(range(256)) * 2000
        reading = asyncio.create_task(output_of(session))
        await session.write(given)
        await session.close_stdin()
        assert await reading == {1: given, 2: b"bad\n"}
        assert await session.exit_code() == 5


async def test_a_command_that_nobody_waits_for_is_ended(machine: Machine) -> None:
    main = await machine.run("sleep", "1000")
    async with await machine.runtime.exec(main.id, ("sh", "-c", "echo begun; sleep 4321"), stdin=False, tty=False) as session:
        assert await session.read() == (1, b"begun\n")

    async def is_gone() -> bool:
        script = "n=0; for p in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$p | { read l; [ \"$l\" != 'sleep 4321 ' ]; } || n=1; done; echo $n"
        async with await machine.runtime.exec(main.id, ("sh", "-c", script), stdin=False, tty=False) as asked:
            return (await output_of(asked))[1] == b"0\n"

    await asked_until(is_gone)


async def test_a_check_tells_how_a_command_ended(machine: Machine) -> None:
    main = await machine.run("sleep", "1000")
    well = await machine.runtime.check(main.id, ExecCheck(("echo", "well")), 20)
    ill = await machine.runtime.check(main.id, ExecCheck(("sh", "-c", "echo ill; exit 1")), 20)
    assert (well.success, well.output, ill.success, ill.output) == (True, "well\n", False, "ill\n")
    late = await machine.runtime.check(main.id, ExecCheck(("sleep", "77")), 0.3)
    assert (late.success, late.output) == (False, 'command "sleep 77" timed out')
    assert not (await machine.runtime.check(main.id, ExecCheck(("no-such-program",)), 20)).success


async def test_who_attaches_speaks_to_the_main_process(machine: Machine) -> None:
    main = await machine.run("sh", "-c", "read x; echo got $x; exec sleep 1000", stdin=True)
    async with await machine.runtime.attach(main.id, stdin=True, tty=False) as session:
        await session.write(b"hello\n")
        assert await session.read() == (1, b"got hello\n")
    assert machine.seen().state == RUNNING


async def test_a_log_is_followed_to_the_containers_end(machine: Machine) -> None:
    main = await machine.run("sh", "-c", "echo one; echo two; read x; echo three; printf four", stdin=True)
    await said(machine, main, b"one\ntwo\n")
    assert await machine.log(main, tail_lines=1) == b"two\n"
    assert await machine.log(main, tail_lines=0) == b""
    coming = asyncio.create_task(machine.log(main, follow=True))
    async with await machine.runtime.attach(main.id, stdin=True, tty=False) as session:
        await session.write(b"on\n")
        async with asyncio.timeout(20):
            assert await coming == b"one\ntwo\nthree\nfour"
    stamped = (await machine.log(main, timestamps=True)).splitlines()
    assert [line.partition(b" ")[2] for line in stamped] == [b"one", b"two", b"three", b"four"]
    assert all(line[:4].isdigit() and line.split()[0].endswith(b"Z") for line in stamped)


async def test_ports_are_reached_on_the_pods_loopback(machine: Machine) -> None:
    main = await machine.run("sh", "-c", "mkdir /tmp/www; echo well >/tmp/www/index.html; exec httpd -f -p 127.0.0.1:8080 -h /tmp/www")

    async def answer() -> bytes:
        with await machine.runtime.dial(machine.sandbox, 8080) as connection:
            reader, writer = await asyncio.open_connection(sock=connection.dup())
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            found = await reader.read()
            writer.close()
            return found

    async with asyncio.timeout(20):
        while True:
            try:
                assert (await answer()).endswith(b"well\n")
                break
            except RuntimeFailure:
                assert machine.seen().state == RUNNING, await machine.log(main)
                await asyncio.sleep(0.05)
    with pytest.raises(RuntimeFailure, match="refused"):
        await machine.runtime.dial(machine.sandbox, 8081)


async def test_what_a_container_uses_is_told(any_machine: Machine) -> None:
    await any_machine.run("sleep", "1000")

    uid = any_machine.pod.uid

    async def is_told() -> bool:
        found = await any_machine.runtime.usage()
        return any((one.pod.uid, one.container) == (uid, "app") and one.memory_bytes for one in found)

    await asked_until(is_told)


def lasting(container: Container) -> Container:
    """Without what is told by the clock of whoever made it before the engine is asked, and limits, which need not be told."""
    return replace(container, limits=None, created_at=None, started_at=None)


async def test_a_runtime_that_comes_anew_sees_what_there_is(machine: Machine) -> None:
    ended, running = await machine.run("sh", "-c", "exit 3"), await machine.run("sleep", "1000", name="other")
    await until(lambda: machine.seen().state == EXITED)
    later = machine.another()
    try:
        async with following(later):
            assert (machine.seen("app", later).id, machine.seen("app", later).exit_code) == (ended.id, 3)
            assert lasting(machine.seen("other", later)) == lasting(machine.seen("other"))
            observation = later.observe(machine.pod.uid)
            assert observation is not None and observation.sandbox is not None
            assert (observation.sandbox.id, observation.sandbox.ip, observation.sandbox.ready) == (
                machine.sandbox.id,
                machine.sandbox.ip,
                True,
            )
            assert (await later.create_sandbox(SandboxPlan(machine.pod, 0, "web"))).id == machine.sandbox.id
            other = PodRef("default", "another", str(uuid.uuid4()))
            assert (await later.create_sandbox(SandboxPlan(other, 0, "another"))).ip != machine.sandbox.ip
            await later.stop_container(running, machine.pod, 0.0)
            assert machine.seen("other", later).state == EXITED
    finally:
        await later.close()


async def test_the_hollow_runtime_says_that_it_runs_nothing(request: pytest.FixtureRequest) -> None:
    async with machine_named("hollow", request) as hollow:
        main = await hollow.run("sleep", "1000")
        for asked in (
            hollow.runtime.exec(main.id, ("true",), stdin=False, tty=False),
            hollow.runtime.attach(main.id, stdin=False, tty=False),
            hollow.runtime.dial(hollow.sandbox, 80),
        ):
            with pytest.raises(RuntimeFailure, match=r"^a hollow "):
                await asked
