"""A Docker engine of a test's own, beside the machine's: it may be stopped and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

from docker import APIClient

# No container is ever attached to it; a range for measurements (RFC 2544) meets no real one.
BRIDGE_ADDRESS = "198.19.255.1/30"
START_SECONDS, STOP_SECONDS, CLIENT_SECONDS = 30.0, 30.0, 60.0


class OwnEngine:
    """``stop``, ``kill`` and ``start`` again keep its images and containers. It leaves the machine's packet filter alone.

    It is given a bridge of its own: an engine that is told to have none removes ``docker0``, which
    is that of the machine's engine.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._bridge = f"kt-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._folder}/docker.sock"

    def start(self, *, live_restore: bool = False) -> None:
        """Starts the engine and waits until it answers."""
        folder = self._folder
        command = [
            "dockerd", f"--data-root={folder / 'data'}", f"--exec-root={folder / 'run'}", f"--host={self.url}",
            f"--pidfile={folder / 'docker.pid'}", f"--containerd={folder / 'containerd.sock'}",
            f"--bridge={self._bridge}", "--iptables=false", "--ip-masq=false", "--shutdown-timeout=5",
        ]  # fmt: skip
        self._make_bridge()
        with (folder / "docker.log").open("ab") as log:
            self._start_supervisor(log)
            self._process = subprocess.Popen([*command, *(["--live-restore"] if live_restore else [])], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while self._client("version").returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"the engine did not start:\n{(folder / 'docker.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def _make_bridge(self) -> None:
        if self._has_bridge():
            return
        subprocess.run(["ip", "link", "add", self._bridge, "type", "bridge"], check=True)
        subprocess.run(["ip", "address", "add", BRIDGE_ADDRESS, "dev", self._bridge], check=True)

    def _has_bridge(self) -> bool:
        """In the network namespace of now: /sys shows that in which it was mounted."""
        return subprocess.run(["ip", "link", "show", self._bridge], capture_output=True, check=False).returncode == 0

    def _start_supervisor(self, log: IO[bytes]) -> None:
        """containerd, which outlives an engine that is killed, as where each is a service of its own."""
        if self._supervisor is not None:
            return
        folder = self._folder
        config = folder / "containerd.toml"
        config.write_text(
            f'version = 2\nroot = "{folder}/containerd"\nstate = "{folder}/shims"\n'
            f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/containerd.sock"\n'
        )
        self._supervisor = subprocess.Popen(["containerd", "--config", str(config)], stdout=log, stderr=log)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends it without warning; what it had started goes on."""
        self._end(signal.SIGKILL)

    def cut_power(self) -> None:
        """Ends it with all it has started, and forgets what a machine forgets when it is switched off."""
        containers = self.docker("ps", "-q").split()
        doomed = [int(pid) for pid in self.docker("inspect", "--format", "{{.State.Pid}}", *containers).split()] if containers else []
        doomed += self._shims()
        self.kill()
        assert self._supervisor is not None
        self._supervisor.kill()
        self._supervisor.wait(STOP_SECONDS)
        self._supervisor = None
        for pid in doomed:
            # One of them may have ended with the one before.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + STOP_SECONDS
        while any(_lives(pid) for pid in doomed):
            assert time.monotonic() < deadline, "processes of containers outlive the power cut"
            time.sleep(0.02)
        self._unmount()
        for volatile in ("run", "shims"):
            shutil.rmtree(self._folder / volatile, ignore_errors=True)

    def _shims(self) -> list[int]:
        """The processes that stand between containerd and its containers."""
        mark = f"-address\0{self._folder}/".encode()
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if mark in _bytes(path)]

    def docker(self, *arguments: str) -> str:
        """Runs the docker client; its output."""
        done = self._client(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)} failed: {done.stderr}")
        return done.stdout

    def load(self, image: str) -> None:
        """Copies an image from the machine's engine."""
        with closing(APIClient()) as machine, closing(APIClient(base_url=self.url)) as own:
            for progress in own.load_image(machine.get_image(image)):
                assert "error" not in progress, progress

    def remove(self) -> None:
        """Ends everything it has started and takes its files away."""
        if self._process is None:
            self.start()
        for container in self.docker("ps", "-aq").split():
            self.docker("rm", "-f", container)
        self.stop()
        if self._supervisor is not None:
            self._supervisor.terminate()
            self._supervisor.wait(STOP_SECONDS)
        # One that was made in another network namespace goes with it.
        if self._has_bridge():
            subprocess.run(["ip", "link", "delete", self._bridge], check=True)
        self._unmount()
        shutil.rmtree(self._folder)

    def _unmount(self) -> None:
        mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
        for mount in sorted((mount for mount in mounts if mount.startswith(f"{self._folder}/")), reverse=True):
            subprocess.run(["umount", "-l", mount], check=True)

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(STOP_SECONDS)
        self._process = None

    def _client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["docker", "--host", self.url, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=CLIENT_SECONDS)


def _lives(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    status = _bytes(Path(f"/proc/{pid}/stat")).rpartition(b")")[2].split()
    return bool(status) and status[0] not in (b"Z", b"X")


def _bytes(path: Path) -> bytes:
    """A file of /proc; empty when its process is gone."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@contextmanager
def own_engine() -> Iterator[OwnEngine]:
    """A started engine; nothing of it is left at the end."""
    # Its sockets lie deep in its folder, and a socket's path is short.
    engine = OwnEngine(Path(tempfile.mkdtemp(prefix="knarr-engine-")))
    try:
        engine.start()
        yield engine
    finally:
        engine.remove()
