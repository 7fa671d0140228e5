"""Connections into a pod's own network namespace, where its loopback is."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

from services.kubelet.runtime.namespaces import enter_network, in_a_thread_of_its_own
from services.kubelet.runtime.port import RuntimeFailure, Sandbox

log = logging.getLogger(__name__)

DIAL_SECONDS = 30.0
LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


async def dial(sandbox: Sandbox, pid: int, port: int) -> socket.socket:
    """As ``Runtime.dial``; ``pid`` is the sandbox's process. Where that is not to be seen or entered (an engine elsewhere, a kubelet
    without the right to) the pod's address is connected to instead: what listens on its loopback only is not reached then."""
    refused: OSError | None = None
    for family, address in LOOPBACKS:
        made = await _made_within(pid, sandbox.id, family)
        if made is None:
            break
        try:
            return await _connected(made, address, port)
        except OSError as error:
            refused = refused or error
    try:
        if refused is not None:
            raise refused
        family = socket.AF_INET6 if ":" in sandbox.ip else socket.AF_INET
        return await _connected(socket.socket(family, socket.SOCK_STREAM), sandbox.ip or "127.0.0.1", port)
    except OSError as error:
        raise RuntimeFailure(os.strerror(error.errno).lower() if error.errno else "i/o timeout") from error


async def _connected(made: socket.socket, address: str, port: int) -> socket.socket:
    made.setblocking(False)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


async def _made_within(pid: int, sandbox_id: str, family: socket.AddressFamily) -> socket.socket | None:
    """A socket of the pod's namespace; None where that cannot be entered, or has no such addresses."""

    def make() -> socket.socket:
        enter_network(pid, sandbox_id)
        return socket.socket(family, socket.SOCK_STREAM)

    try:
        return await in_a_thread_of_its_own(make, socket.socket.close)
    except OSError as error:
        log.info("a pod's network cannot be entered", extra={"sandbox": sandbox_id, "error": str(error)})
        return None
