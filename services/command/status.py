"""``knarr status``: each component's health, the node, and where to look."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.client.channel import open_secure_channel
from services.command.named.freezing import is_frozen
from services.standalone import process
from services.standalone.files import Files
from services.standalone.settings import ClusterSettings

ANSWER_SECONDS = 3.0
RUNNING, PAUSED, STARTING, STOPPED = "running", "paused", "starting", "stopped"


@dataclass(frozen=True, slots=True)
class Health:
    """What one component answered."""

    component: str
    address: str
    answer: str

    @property
    def good(self) -> bool:
        return self.answer == "SERVING"


@dataclass(frozen=True, slots=True)
class Status:
    """``state`` is running, paused, starting or stopped. All but the places are empty where nothing runs, or nothing is known of it yet."""

    state: str
    folder: Path
    log: Path
    # Whether there is a state that the next start goes on with.
    kept: bool
    pid: int = 0
    server: str = ""
    node: str = ""
    runtime: str = ""
    datapath: str = ""
    components: tuple[Health, ...] = ()

    @property
    def good(self) -> bool:
        return self.state == RUNNING and all(answer.good for answer in self.components)

    def as_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "state": self.state,
            "folder": str(self.folder),
            "log": str(self.log),
            "pid": self.pid,
            "server": self.server,
            "node": self.node,
            "runtime": self.runtime,
            "datapath": self.datapath,
            "components": [{**asdict(health), "serving": health.good} for health in self.components],
        }


def status_of(settings: ClusterSettings) -> Status:
    """What runs, and how it is; asks every component. Raises CommandError for a damaged state."""
    files = settings.files
    running = process.find(files)
    found = Status(STOPPED, files.root, files.log, files.etcd.exists())
    if running is None:
        return found
    if is_frozen(running.pid):
        return replace(found, state=PAUSED, pid=running.pid)
    if not files.state.exists():
        return replace(found, state=STARTING, pid=running.pid)
    state = files.read_state()
    answers = tuple(asyncio.run(ask_all(files, state["components"])))
    return replace(
        found,
        state=RUNNING,
        pid=running.pid,
        server=state["server"],
        node=state["node"],
        runtime=state["runtime"],
        datapath=state["datapath"],
        components=answers,
    )


def lines_of(status: Status) -> Iterator[str]:
    """For a person."""
    match status.state:
        case "stopped":
            yield f"no cluster runs from {status.folder}" + (" (its state is kept; `knarr up` starts it again)" if status.kept else "")
        case "starting":
            yield f"the cluster in {status.folder} (pid {status.pid}) is starting; its log is {status.log}"
        case "paused":
            yield f"the cluster in {status.folder} (pid {status.pid}) is paused; `knarr resume` lets it go on"
        case _:
            yield f"{status.server}  pid {status.pid}  {status.runtime} runtime, {status.datapath} datapath"
            width = max(len(answer.component) for answer in status.components)
            for answer in status.components:
                yield f"  {answer.component:<{width}}  {answer.address:<22}  {answer.answer}"
            if not status.good:
                yield f"the log is {status.log}"


async def ask_all(files: Files, components: dict[str, str]) -> list[Health]:
    """Asks components, by their names and addresses, how they are."""
    credentials = grpc.ssl_channel_credentials((files.pki / "ca.crt").read_bytes())
    return await asyncio.gather(*(_ask(name, address, credentials) for name, address in components.items()))


async def _ask(component: str, address: str, credentials: grpc.ChannelCredentials) -> Health:
    async with open_secure_channel(address, credentials) as channel:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=ANSWER_SECONDS)
        except grpc.aio.AioRpcError as error:
            return Health(component, address, f"no answer: {error.details()}")
    return Health(component, address, health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
