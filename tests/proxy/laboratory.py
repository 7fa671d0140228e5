"""A machine in a box: nameless network namespaces for a node, its pods on a bridge, and a client outside.

The test's own thread lives in the node's namespace while the laboratory is open; sockets stay where they were made. Nothing is left behind:
the namespaces end with their last descriptor. The cluster's ranges are unreachable in all of them before anything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CLONE_NEWNET = 0x40000000
HERE = "/proc/thread-self/ns/net"
CLUSTER_RANGES = ("10.96.0.0/16", "10.244.0.0/16")
LAST_RESORT = 4100000000
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def ip(*commands: str) -> None:
    """Runs ip(8) commands in the current namespace, all in one process."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True, capture_output=True, timeout=10)


class Namespace:
    """A network namespace held by a descriptor."""

    def __init__(self) -> None:
        before = os.open(HERE, os.O_RDONLY)
        try:
            _check(_libc.unshare(CLONE_NEWNET))
            self.descriptor = os.open(HERE, os.O_RDONLY)
            ip("link set lo up", *(f"route add unreachable {cidr} metric {LAST_RESORT}" for cidr in CLUSTER_RANGES))
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
            os.close(before)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in the namespace; not to be held across an await, but by the laboratory."""
        before = os.open(HERE, os.O_RDONLY)
        _check(_libc.setns(self.descriptor, CLONE_NEWNET))
        try:
            yield
        finally:
            _check(_libc.setns(before, CLONE_NEWNET))
            os.close(before)

    def socket(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        with self.entered():
            sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        return sock

    def close(self) -> None:
        os.close(self.descriptor)


@dataclass
class EchoServer:
    """Answers each connection with `<name> <client's address>`, then echoes until the client has finished."""

    name: str
    server: asyncio.Server
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def close(self) -> None:
        self.server.close()
        for writer in list(self.writers):
            writer.transport.abort()
        await asyncio.sleep(0)


class Laboratory:
    """``node`` (192.168.50.1, bridge knarr0 with 10.244.0.1), pods 10.244.0.11…, ``outside`` (192.168.50.2)."""

    NODE_ADDRESS = "192.168.50.1"

    def __init__(self, pods: int = 3) -> None:
        self.node = Namespace()
        self.outside = Namespace()
        self.pods = [Namespace() for _ in range(pods)]
        self._servers: list[EchoServer] = []

    @staticmethod
    def pod_address(number: int) -> str:
        return f"10.244.0.{11 + number}"

    @contextlib.contextmanager
    def opened(self) -> Iterator[Laboratory]:
        try:
            with self.node.entered():
                self._wire()
                yield self
        finally:
            for namespace in (self.node, self.outside, *self.pods):
                namespace.close()

    def _wire(self) -> None:
        ip("link add knarr0 type bridge", "addr add 10.244.0.1/24 dev knarr0", "link set knarr0 up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        opened = [f"route del unreachable {cidr} metric {LAST_RESORT}" for cidr in CLUSTER_RANGES]
        for number, pod in enumerate(self.pods):
            self._cable(pod, f"pod{number}", f"{self.pod_address(number)}/24", f"link set pod{number} master knarr0")
            with pod.entered():
                ip("route add default via 10.244.0.1", *opened)
        self._cable(self.outside, "uplink", "192.168.50.2/24", f"addr add {self.NODE_ADDRESS}/24 dev uplink")

    @staticmethod
    def _cable(far: Namespace, name: str, address: str, *then: str) -> None:
        holder = f"/proc/{os.getpid()}/fd/{far.descriptor}"
        ip(f"link add {name} type veth peer name far-{name}", f"link set far-{name} netns {holder}", f"link set {name} up", *then)
        with far.entered():
            ip(f"link set far-{name} name eth0", f"addr add {address} dev eth0", "link set eth0 up")

    async def serve(self, number: int, port: int = 8080) -> EchoServer:
        """An echo server in a pod."""
        return await self.serve_in(self.pods[number], self.pod_address(number), port, f"pod{number}")

    async def serve_in(self, namespace: Namespace, address: str, port: int, name: str) -> EchoServer:
        """An echo server anywhere."""
        sock = namespace.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        writers: set[asyncio.StreamWriter] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.add(writer)
            try:
                writer.write(f"{name} {writer.get_extra_info('peername')[0]}\n".encode())
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            except (ConnectionError, asyncio.CancelledError):
                pass
            finally:
                writers.discard(writer)
                writer.close()

        server = EchoServer(name, await asyncio.start_server(answer, sock=sock), writers)
        self._servers.append(server)
        return server

    async def connect(
        self, address: str, port: int, *, origin: Namespace | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection from a namespace (the node's, unless told)."""
        sock = (origin or self.node).socket()
        try:
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().sock_connect(sock, (address, port))
            return await asyncio.open_connection(sock=sock)
        except BaseException:
            sock.close()
            raise

    async def ask(self, address: str, port: int, *, origin: Namespace | None = None) -> tuple[str, str]:
        """(who answered, the source it saw) of one new connection."""
        reader, writer = await self.connect(address, port, origin=origin)
        try:
            async with asyncio.timeout(5):
                line = (await reader.readline()).decode().split()
            if not line:
                raise ConnectionResetError("closed without an answer")
            return line[0], line[1]
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def close_servers(self) -> None:
        for server in self._servers:
            await server.close()
