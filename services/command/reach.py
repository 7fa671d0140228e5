"""How the command reaches the components of a cluster that runs, and asks one of them something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio
from google.protobuf.message import Message

from knarr.client.channel import open_channel
from knarr.service.errors import CommandError
from services.standalone.files import Files

# As people call them.
NAMES = {"apiserver": "the API server", "scheduler": "the scheduler"}


async def answered(files: Files, component: str, method: Callable[[grpc.aio.Channel], Any], question: Message, seconds: float) -> Any:
    """What a component answers to a question. ``method`` makes the service's of a channel. CommandError where it does not answer."""
    address, token, authority = reached(files, component)
    name = f"{NAMES[component]} at {address}"
    async with open_channel(address, authority, token) as channel:
        try:
            # A server that has just started may not be quick enough for the first handshake.
            return await method(channel)(question, timeout=seconds, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                words = f"{name} did not answer within {seconds:g} s; `knarr status` says how the cluster is"
                raise CommandError(words) from None
            raise CommandError(f"{name} does not explain it: {error.details()}") from error


def reached(files: Files, component: str) -> tuple[str, str, bytes]:
    """Where a component is, and what is shown to it and by it: an address, a token, an authority."""
    try:
        address = str(files.read_state()["components"][component])
        return address, files.admin_token.read_text().strip(), (files.pki / "ca.crt").read_bytes()
    except FileNotFoundError:
        raise CommandError(f"no cluster runs from {files.root}; start it first: `knarr up`") from None
