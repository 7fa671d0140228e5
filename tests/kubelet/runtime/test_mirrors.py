"""A mirror of docker.io: which images are asked of it, and that what comes from there has the name that was asked for."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from services.command.addons.registry.image import CONFIG, find_program
from services.command.addons.registry.manifests import FOLDER
from services.kubelet.runtime.docker.engine import Engine as DockerEngine
from services.kubelet.runtime.docker.images import EngineImages as DockerImages
from services.kubelet.runtime.mirrors import mirrored, place_of, split_tag
from services.kubelet.runtime.port import NoSuchImage, RuntimeFailure
from tests.kubelet.containerd_support import containerd, cri
from tests.support.engine import IMAGE, docker, ensure_image

MIRROR = "https://mirror.example:8443/hub"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("busybox", "mirror.example:8443/hub/library/busybox:latest"),
        ("busybox:1", "mirror.example:8443/hub/library/busybox:1"),
        ("docker.io/team/app:2", "mirror.example:8443/hub/team/app:2"),
        ("quay.io/app:2", ""),
        ("localhost:5000/app:2", ""),
        (f"busybox@sha256:{'0' * 64}", ""),
    ],
)
def test_what_is_asked_of_the_mirror(reference: str, name: str) -> None:
    assert mirrored(reference, MIRROR) == name
    assert mirrored(reference, "") == ""


def test_parts_of_names() -> None:
    assert place_of("http://127.0.0.1:5000/") == "127.0.0.1:5000"
    assert split_tag("localhost:5000/app:1") == ("localhost:5000/app", "1")


@contextmanager
def registry(folder: Path) -> Iterator[str]:
    """A real one at the loopback that has the example image as `library/mirrored:1`; its URL."""
    program = find_program()
    assert program is not None
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(CONFIG.replace(FOLDER, str(folder / "images")).replace(":5000", f"127.0.0.1:{port}"))
    with (folder / "log").open("wb") as log, subprocess.Popen([program, "serve", config], stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 20
            while not answers(port):
                assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()[-1000:]
                time.sleep(0.02)
            ensure_image()
            name = f"127.0.0.1:{port}/library/mirrored:1"
            docker("tag", IMAGE, name)
            docker("push", "--quiet", name)
            docker("rmi", name)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def answers(port: int) -> bool:
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/v2/", timeout=1) as told:
            return bool(told.status == 200)
    except OSError:
        return False


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as url:
        yield url


@asynccontextmanager
async def docker_images(mirror: str) -> AsyncIterator[DockerImages]:
    engine = DockerEngine("unix:///var/run/docker.sock", 60.0)
    try:
        yield DockerImages(engine, mirror)
    finally:
        await engine.close()


HAS_REGISTRY = pytest.mark.skipif(find_program() is None, reason="no docker-registry; scripts/install.sh --tests fetches it")


@pytest.mark.docker
@HAS_REGISTRY
async def test_docker_has_it_by_the_name_that_was_asked_for_alone(mirror: str) -> None:
    async with docker_images(mirror) as images:
        try:
            found = await images.pull("mirrored:1", None)
            assert found.id == docker("inspect", "--format", "{{.Id}}", IMAGE).strip()
            assert (await images.get("docker.io/library/mirrored:1")).id == found.id
            names = {name for image in await images.all() for name in image.names}
            assert "mirrored:1" in names and not [name for name in names if name.startswith("127.0.0.1")]
            # Twice, and one that it has not, whose registry is asked then: there is no way to that from here.
            assert (await images.pull("mirrored:1", None)).id == found.id
            with pytest.raises(RuntimeFailure) as caught:
                await images.pull("mirrored:2", None)
            assert "127.0.0.1" not in str(caught.value)
        finally:
            docker("rmi", "--force", "mirrored:1", check=False)


@pytest.mark.docker
@HAS_REGISTRY
async def test_who_shows_a_login_is_not_served_by_the_mirror(mirror: str) -> None:
    async with docker_images(mirror) as images:
        with pytest.raises(RuntimeFailure):
            await images.pull("mirrored:1", {"username": "a", "password": "b"})
        with pytest.raises(NoSuchImage):
            await images.get("mirrored:1")


@pytest.mark.docker
@HAS_REGISTRY
def test_containerd_has_it_by_the_name_that_was_asked_for(mirror: str) -> None:
    async def pulled() -> None:
        async with cri(engine, replace(engine.settings(), registry_mirror=mirror)) as (runtime, _):
            found = await runtime.pull("mirrored:1")
            assert (await runtime.image("docker.io/library/mirrored:1")).id == found.id
            assert (await runtime.pull("mirrored:1")).id == found.id
            with pytest.raises(RuntimeFailure):
                await runtime.pull("mirrored:2")

    with containerd() as engine:
        asyncio.run(pulled())
