"""A Docker runtime of the tests' own: its labels, network and image are removed at the end."""

from __future__ import annotations

import contextlib
import io
import tarfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.kubelet.cgroups.hierarchy import Hierarchy
from services.kubelet.cgroups.names import CGROUPFS, root_of
from services.kubelet.runtime.docker import DockerRuntime, DockerSettings, remove_everything
from services.kubelet.runtime.docker.engine import Engine, EngineNotFound

URL = "unix:///var/run/docker.sock"
BUSYBOX = Path("/bin/busybox")
# Of a user who is in a group beside his own.
ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/:/bin/sh\napp:x:1500:1501::/:/bin/sh\n",
    "etc/group": b"root:x:0:\napp:x:1501:\nwheel:x:1600:other,app\n",
}
CIDR = "10.254.77.0/24"


def unique_settings(url: str = URL) -> DockerSettings:
    mark = uuid.uuid4().hex[:8]
    return DockerSettings(f"test-{mark}", "node-1", CIDR, url, network=f"knarr-test-{mark}", bridge=f"kt{mark}")


def busybox_archive() -> bytes:
    """The files of an image of one static busybox."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for folder in ("tmp", "etc", "bin", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            archive.addfile(entry)
        archive.add(BUSYBOX, "bin/busybox")
        for name, text in ACCOUNTS.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text))
        for name in ("sh", "sleep", "cat", "echo", "httpd", "nc", "ls", "hostname", "id", "stty", "true", "wc", "head", "tr", "printf"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return buffer.getvalue()


async def import_busybox(engine: Engine, tag: str) -> None:
    """The image under ``knarr-test/busybox:<tag>``."""
    params = f"fromSrc=-&repo=knarr-test%2Fbusybox&tag={tag}&changes=ENV%20PATH%3D%2Fbin"
    await engine.request("POST", f"images/create?{params}", data=busybox_archive(), headers={"Content-Type": "application/x-tar"})


@asynccontextmanager
async def docker(settings: DockerSettings | None = None) -> AsyncIterator[tuple[DockerRuntime, DockerSettings, str]]:
    """A runtime that was not started yet, its settings and the reference of an image that is there."""
    settings = settings or unique_settings()
    tag = settings.cluster_id
    engine = Engine(URL, 60.0)
    runtime = DockerRuntime(settings)
    try:
        await import_busybox(engine, tag)
        yield runtime, settings, f"knarr-test/busybox:{tag}"
    finally:
        await runtime.close()
        try:
            await remove_everything(settings.cluster_id, image=False)
        finally:
            with contextlib.suppress(OSError):
                Hierarchy(CGROUPFS).remove(root_of(settings.cluster_id, settings.node_name)[:1])
            await remove_image(engine, f"knarr-test/busybox:{tag}")
            await engine.close()


async def remove_image(engine: Engine, reference: str) -> None:
    with contextlib.suppress(EngineNotFound):
        await engine.request("DELETE", f"images/{reference}", params={"force": 1})
