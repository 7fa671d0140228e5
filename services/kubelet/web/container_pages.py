"""/containerLogs and /run: what a container has said, and what a command in it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.machinery.errors import bad_request, internal
from knarr.service.web.message import WebAnswer, WebRequest
from services.kubelet.runtime.port import RuntimeFailure
from services.kubelet.servicer import KubeletServicer

# What a command may say.
MOST_OUTPUT_BYTES = 4 * 1024 * 1024
# Of a number of 64 bits.
MOST_DIGITS = 19
_NUMBERS = (("tailLines", "tail_lines"), ("sinceSeconds", "since_seconds"), ("limitBytes", "limit_bytes"))
_SWITCHES = (("follow", "follow"), ("previous", "previous"), ("timestamps", "timestamps"))
_TRUE = ("1", "t", "T", "TRUE", "true", "True", "")


def logs_request(namespace: str, pod: str, container: str, parameters: dict[str, list[str]]) -> pb.LogsRequest:
    """By the names of PodLogOptions. Raises BadRequest."""
    wanted = pb.LogsRequest(container=pb.ContainerRef(namespace=namespace, pod=pod, container=container))
    for name, field in _NUMBERS:
        if values := parameters.get(name):
            if not values[0].isdecimal() or len(values[0]) > MOST_DIGITS or int(values[0]) >= 1 << 63:
                raise bad_request(f"{name}: {values[0][: MOST_DIGITS + 1]!r} is no number from 0 on")
            setattr(wanted, field, int(values[0]))
    for name, field in _SWITCHES:
        if values := parameters.get(name):
            setattr(wanted, field, values[0] in _TRUE)
    wanted.since_time = (parameters.get("sinceTime") or [""])[0]
    if values := parameters.get("stream"):
        wanted.stream = values[0]
    return wanted


async def container_logs(servicer: KubeletServicer, wanted: pb.LogsRequest) -> WebAnswer:
    """Raises StatusError where there are none; what breaks off later breaks the answer off."""
    stream = servicer.Logs(wanted, None)
    if wanted.follow:
        # What says nothing yet is answered at once; whether there is such a container is known before.
        servicer.check_logs(wanted)
        return WebAnswer(_pieces(stream, b""))
    first = await anext(stream, None)
    return WebAnswer(_pieces(stream, first.data if first is not None else b""))


async def _pieces(stream: AsyncIterator[pb.LogsResponse], first: bytes) -> AsyncIterator[bytes]:
    async with aclosing(stream):  # type: ignore[type-var]
        yield first
        async for piece in stream:
            yield piece.data


async def run(servicer: KubeletServicer, request: WebRequest, where: list[str]) -> WebAnswer:
    """Runs a command and answers what it has said. ``where`` is namespace, pod, perhaps its uid, and container. Raises StatusError."""
    namespace, pod, *uid, name = where
    command = (request.parameters().get("cmd") or [""])[0].split(" ")
    if command == [""]:
        raise bad_request("cmd: the command is missing; give it as ?cmd=ls%20-l")
    container = servicer.running_container(pb.ContainerRef(namespace=namespace, pod=pod, container=name), "".join(uid))
    session = await servicer.begin_exec(container.id, tuple(command), stdin=False, tty=False)
    said = bytearray()
    try:
        while (output := await session.read()) is not None:
            said += output[1]
            if len(said) > MOST_OUTPUT_BYTES:
                raise internal(f"the command said more than {MOST_OUTPUT_BYTES} bytes and was ended; use exec for it")
        code = await session.exit_code()
    except RuntimeFailure as error:
        raise internal(str(error)) from error
    finally:
        await session.close()
    return WebAnswer(bytes(said), 500 if code else 200, headers=(("X-Exit-Code", str(code)),) if code else ())
