"""Connections into a pod's own network namespace, where its loopback is.

A socket belongs to the namespace in which it was made, whoever uses it. So a thread of its own enters the pod's namespace, makes a socket
there and ends: it never comes back, and nothing else of the process has been there.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import socket
import threading

from services.kubelet.runtime.handles import held
from services.kubelet.runtime.port import RuntimeFailure, Sandbox

log = logging.getLogger(__name__)

CLONE_NEWNET = 0x40000000
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
    loop = asyncio.get_running_loop()
    made: asyncio.Future[socket.socket] = loop.create_future()

    def settle(result: socket.socket | OSError) -> None:
        if made.cancelled():
            if isinstance(result, socket.socket):
                result.close()
        elif isinstance(result, OSError):
            made.set_exception(result)
        else:
            made.set_result(result)

    def make() -> None:
        try:
            result: socket.socket | OSError = _socket_within(pid, sandbox_id, family)
        except OSError as error:
            result = error
        loop.call_soon_threadsafe(settle, result)

    threading.Thread(target=make, name="pod network", daemon=True).start()
    try:
        return await made
    except OSError as error:
        log.info("a pod's network cannot be entered", extra={"sandbox": sandbox_id, "error": str(error)})
        return None


def _socket_within(pid: int, sandbox_id: str, family: socket.AddressFamily) -> socket.socket:
    """To be called in a thread that ends with it: the thread stays in the pod's namespace."""
    with held(pid, sandbox_id) as process:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(process, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        return socket.socket(family, socket.SOCK_STREAM)
