"""The page's server, in the foreground."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import webbrowser
from asyncio.sslproto import SSLProtocol
from collections.abc import Mapping
from contextlib import suppress

from knarr.service import collector
from knarr.service.errors import CommandError
from services.apiserver.webhooks.remote import Remote
from services.command.parts import ClusterParts
from services.standalone.files import Files
from services.web.api import Access, Api
from services.web.parts import NoParts
from services.web.peers import of_this_process
from services.web.server import HOST, PageServer

TLS_BUFFER_BYTES = 32 * 1024
# Of the heap: answers are few, and what is asked for again costs less than the 2 MB that would lie about.
KEPT_BYTES, MAPPED_BYTES = 256 * 1024, 128 * 1024
# In the data directory: what was seen of the cluster, for the next page.
HISTORY = "page"


def serve(files: Files, remote: Remote, port: int, *, browser: bool) -> None:
    """Until it is interrupted. Raises CommandError where there is no port."""
    collector.share_heap()
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(files, remote, port, browser))


async def _serve(files: Files, remote: Remote, port: int, browser: bool) -> None:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    # Each connection has a buffer of this size for as long as it lasts, and each watch a connection: 256 KiB by default.
    SSLProtocol.max_size = TLS_BUFFER_BYTES
    async with Api(Access(remote.url, remote.context, remote.headers, remote.server_name)) as api:
        own = _is_own(files, api)
        parts = ClusterParts(files, api) if own else NoParts()
        history = files.root / HISTORY if own else None
        server = PageServer(api, parts, port=port, users=of_this_process(), history=history, namespaces=[remote.namespace])
        try:
            await server.__aenter__()
        except OSError as error:
            raise CommandError(
                f"--port {port}: cannot listen on {HOST}:{port}: {os.strerror(error.errno or 0)}; choose another one"
            ) from error
        try:
            _tell(server, browser)
            collector.settle(KEPT_BYTES, MAPPED_BYTES)
            await collector.give_back()
        except asyncio.CancelledError:
            pass
        finally:
            await server.__aexit__()


def _is_own(files: Files, api: Api) -> bool:
    """Whether the data directory is that of the cluster that is shown: then its components are known, and what was seen has a place."""
    with suppress(OSError, CommandError):
        return bool(files.read_state()["server"].rstrip("/") == api.access.url.rstrip("/"))
    return False


def _tell(server: PageServer, browser: bool) -> None:
    """Prints the first link, and one more for each Enter at a terminal."""
    link = server.link
    print(f"The page is at {link}\nThe link is good once, for two minutes.", flush=True)
    if browser and has_screen(os.environ, sys.platform):
        # As a process of its own: what it prints is not for this terminal.
        asyncio.get_running_loop().run_in_executor(None, webbrowser.open, link)
    if sys.stdin.isatty():
        print("Enter makes a new one, Ctrl-C ends the page.", flush=True)
        asyncio.get_running_loop().add_reader(sys.stdin, _again, server)


def has_screen(environment: Mapping[str, str], platform: str) -> bool:
    """Whether a browser would open a window. Elsewhere what opens would be one of text, which takes the terminal until it ends."""
    return platform != "linux" or any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _again(server: PageServer) -> None:
    if sys.stdin.readline():
        print(server.link, flush=True)
    else:
        asyncio.get_running_loop().remove_reader(sys.stdin)
