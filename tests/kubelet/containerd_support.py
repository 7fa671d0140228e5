"""A containerd of the tests' own, with a CRI runtime on it: all that it makes goes with it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CGROUPFS, root_of
from services.kubelet.node.mounts import unmount_all
from services.kubelet.runtime.cri import CriRuntime, CriSettings
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.image_import import import_image
from services.kubelet.runtime.cri.runtime import remove_everything
from services.kubelet.runtime.port import RuntimeFailure
from tests.kubelet.docker_support import busybox_archive

CIDR = "10.254.78.0/24"
IMAGE = "docker.io/knarr-test/busybox:1"
START_SECONDS = 30.0
PLUGINS = ("/usr/lib/cni", "/opt/cni/bin")
# `restrict_oom_score_adj`: nobody may lower it in a container, where tests run.
CONFIG = """version = 2
root = "{place}/root"
state = "{place}/state"
[grpc]
  address = "{place}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{place}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "knarr/pause:1"
  stream_server_address = "127.0.0.1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{place}/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
"""


@dataclass
class Containerd:
    """A containerd that runs; ``stop`` and ``start`` leave what it made as it is."""

    place: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"unix://{self.place}/containerd.sock"

    def start(self) -> None:
        with (self.place / "log").open("ab") as log:
            self.process = subprocess.Popen(["containerd", "--config", self.place / "config.toml"], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.endpoint):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.place / "log").read_text()[-2000:])

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(START_SECONDS)

    def settings(self) -> CriSettings:
        """Of a cluster of its own; the bridge is this containerd's, whose network there is one of."""
        mark = self.place.name[-8:]
        made = CriSettings(f"test-{uuid.uuid4().hex[:8]}", "node-1", CIDR, self.endpoint, network=f"knarr-test-{mark}", bridge=f"kt{mark}")
        return replace(made, logs=self.place / "pods")


def _answers(endpoint: str) -> bool:
    done = subprocess.run(["ctr", "--address", endpoint.removeprefix("unix://"), "version"], capture_output=True, check=False)
    return done.returncode == 0


@contextmanager
def containerd() -> Iterator[Containerd]:
    """One that has the image IMAGE."""
    place = Path(tempfile.mkdtemp(prefix="kc-"))
    plugins = next((path for path in PLUGINS if Path(path, "bridge").exists()), PLUGINS[0])
    (place / "config.toml").write_text(CONFIG.format(place=place, plugins=plugins, snapshotter=_snapshotter(place)))
    made = Containerd(place)
    try:
        made.start()
        _apart(_give_image(made.endpoint))
        yield made
        _apart(remove_everything(made.settings()))
    finally:
        made.stop()
        unmount_all(place)
        shutil.rmtree(place, ignore_errors=True)


def _apart(work: Coroutine[Any, Any, Any]) -> None:
    """To its end on a loop of its own, also from within another one: a fixture is made where it is asked for."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def _snapshotter(place: Path) -> str:
    """An overlay cannot lie on another one."""
    done = subprocess.run(["stat", "--file-system", "--format=%T", place], capture_output=True, text=True, check=True)
    return "native" if done.stdout.strip() == "overlayfs" else "overlayfs"


async def _give_image(endpoint: str) -> None:
    engine = Engine(endpoint, 60.0)
    try:
        await import_image(engine, IMAGE, busybox_archive(), {"Env": ["PATH=/bin"]})
    finally:
        await engine.close()


@asynccontextmanager
async def cri(made: Containerd, settings: CriSettings | None = None) -> AsyncIterator[tuple[CriRuntime, CriSettings]]:
    """A runtime that was not started yet; its pods go at the end."""
    settings = settings or made.settings()
    runtime = CriRuntime(settings)
    try:
        yield runtime, settings
    finally:
        await runtime.close()
        with contextlib.suppress(RuntimeFailure):
            await remove_everything(settings, network=False)
        with contextlib.suppress(OSError):
            Hierarchy(CGROUPFS).remove(root_of(settings.cluster_id, settings.node_name)[:1])
