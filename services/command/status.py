"""``knarr status``: each component's health, the node, and where to look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from knarr.client.channel import open_secure_channel
from services.command.named.freezing import is_frozen
from services.standalone import process
from services.standalone.files import Files
from services.standalone.settings import ClusterSettings

ANSWER_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Health:
    """What one component answered."""

    component: str
    address: str
    answer: str

    @property
    def good(self) -> bool:
        return self.answer == "SERVING"


def report(settings: ClusterSettings) -> int:
    """Prints the state; 0 when all components serve, 1 otherwise."""
    files = settings.files
    running = process.find(files)
    if running is None or not files.state.exists():
        kept = " (its state is kept; `knarr up` starts it again)" if files.etcd.exists() else ""
        print(f"no cluster runs from {files.root}{kept}")
        return 1
    if is_frozen(running.pid):
        print(f"the cluster in {files.root} (pid {running.pid}) is paused; `knarr resume` lets it go on")
        return 1
    state = files.read_state()
    answers = asyncio.run(ask_all(files, state["components"]))
    print(f"{state['server']}  pid {running.pid}  {state['runtime']} runtime, {state['datapath']} datapath")
    width = max(len(answer.component) for answer in answers)
    for answer in answers:
        print(f"  {answer.component:<{width}}  {answer.address:<22}  {answer.answer}")
    if not all(answer.good for answer in answers):
        print(f"the log is {files.log}")
        return 1
    return 0


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
