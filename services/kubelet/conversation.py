"""The streams of exec and attach: the caller's input one way, the process' output and exit status the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from knarr.api.kubelet.v1 import kubelet_service_pb2 as pb
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request, internal
from knarr.service.tasks import cancel
from services.kubelet.runtime.port import STDERR, RuntimeFailure, Session


async def start_of(requests: AsyncIterator[Any]) -> pb.ExecStart:
    """The first message of an exec or attach; raises BadRequest when it is another one."""
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("part") != "start":
        raise bad_request("the first message must be `start`")
    start: pb.ExecStart = first.start
    return start


async def converse(session: Session, requests: AsyncIterator[Any], response: Any) -> AsyncIterator[Any]:
    """Feeds the caller's input to the session and yields its output, then the exit status. Whoever opened the session closes it."""
    feeder = asyncio.create_task(_feed(session, requests), name="kubelet/exec/stdin")
    try:
        while (output := await session.read()) is not None:
            stream, data = output
            yield response(stderr=data) if stream == STDERR else response(stdout=data)
        yield response(status=exit_status(await session.exit_code()))
    except RuntimeFailure as error:
        raise internal(str(error)) from error
    finally:
        await cancel([feeder])


async def _feed(session: Session, requests: AsyncIterator[Any]) -> None:
    try:
        async for request in requests:
            match request.WhichOneof("part"):
                case "stdin":
                    await session.write(request.stdin)
                case "resize":
                    await session.resize(request.resize.width, request.resize.height)
                case "stdin_closed":
                    await session.close_stdin()
        await session.close_stdin()
    except (RuntimeFailure, ConnectionError, grpc.RpcError):
        return


def exit_status(code: int) -> meta.Status:
    """Success, or the Failure that carries a command's exit code."""
    if code == 0:
        return meta.Status(status="Success")
    status = meta.Status(status="Failure", reason="NonZeroExitCode", code=500)
    status.message = f"command terminated with non-zero exit code: exit status {code}"
    status.details.causes.add(reason="ExitCode", message=str(code))
    return status
