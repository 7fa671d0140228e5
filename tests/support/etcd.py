"""A real etcd for tests: on free ports, in a temporary directory, ended by its pid."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import end

ETCD = shutil.which("etcd") or "/usr/bin/etcd"
START_SECONDS, STOP_SECONDS = 15.0, 5.0


class EtcdServer:
    """One member. ``kill`` and ``start`` again keep the data, as after a crash."""

    def __init__(self, folder: Path, name: str = "test", quota_bytes: int = 0, tls: Path | None = None) -> None:
        """``quota_bytes`` is what its data may come to, etcd's own 2 GiB if 0. ``tls``: a folder with its certificate (``server``) and the
        authority's (``ca``), which it looks at for each connection; clients and members must show one of that authority."""
        self._quota_bytes, self._tls = quota_bytes, tls
        self.folder, self.name = folder, name
        self._client, self._peer = free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # As etcd writes it: NAME=PEER_URL for each member.
        self.initial_cluster = f"{name}={self.peer_url}"

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self._client}"

    @property
    def peer_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._peer}"

    @property
    def _scheme(self) -> str:
        return "https" if self._tls is not None else "http"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts the member and waits until it answers."""
        self.spawn()
        self.wait_for_answer()

    def spawn(self) -> None:
        """Starts the member."""
        client, peer = f"{self._scheme}://127.0.0.1:{self._client}", self.peer_url
        command = [
            ETCD, "--data-dir", str(self.folder / "data"), "--name", self.name, "--logger", "zap", "--log-level", "error",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", self.initial_cluster,
            "--heartbeat-interval", "50", "--election-timeout", "500", "--quota-backend-bytes", str(self._quota_bytes),
        ]  # fmt: skip
        if (tls := self._tls) is not None:
            for part in ("", "peer-"):
                command += [f"--{part}cert-file={tls / 'server.crt'}", f"--{part}key-file={tls / 'server.key'}"]
                command += [f"--{part}trusted-ca-file={tls / 'ca.crt'}", f"--{part}client-cert-auth"]
        with (self.folder / "etcd.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        """Ends it without warning."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Lets it hang: connections stand, nothing is answered, until ``resume``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        end(self._process, number, STOP_SECONDS)
        self._process = None

    def wait_for_answer(self) -> None:
        """Waits until the member says that it is well."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                raise RuntimeError("etcd ended at once: " + (self.folder / "etcd.log").read_text()[-2000:])
            if self._healthy():
                return
            time.sleep(0.02)
        raise RuntimeError("etcd did not answer in time: " + (self.folder / "etcd.log").read_text()[-2000:])

    def _healthy(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self._client), timeout=1) as plain, self._wrapped(plain) as connection:
                connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                return b'"true"' in connection.makefile("rb").read()
        except OSError:
            return False

    def _wrapped(self, plain: socket.socket) -> socket.socket:
        if (tls := self._tls) is None:
            return plain
        context = ssl.create_default_context(cafile=str(tls / "ca.crt"))
        context.load_cert_chain(tls / "server.crt", tls / "server.key")
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


@contextlib.contextmanager
def running_members(folder: Path, count: int = 3, quota_bytes: int = 0) -> Iterator[list[EtcdServer]]:
    """The members of one etcd, all started."""
    servers = []
    for number in range(1, count + 1):
        (folder / f"member-{number}").mkdir()
        servers.append(EtcdServer(folder / f"member-{number}", f"member-{number}", quota_bytes))
    everyone = ",".join(server.initial_cluster for server in servers)
    try:
        for server in servers:
            server.initial_cluster = everyone
            server.spawn()
        for server in servers:
            server.wait_for_answer()
        yield servers
    finally:
        for server in servers:
            server.stop()


@contextlib.contextmanager
def running_etcd(folder: Path) -> Iterator[EtcdServer]:
    """A started member, stopped at the end."""
    server = EtcdServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
