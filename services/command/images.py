"""The images of the engine that runs a cluster's pods on this machine: which there are, more of them, fewer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from knarr.service.errors import CommandError
from services.standalone.settings import ClusterSettings

if TYPE_CHECKING:
    from services.compose.engine import Engine as DockerEngine

T = TypeVar("T")
# What has been read, and how much there is, in bytes.
Progress = Callable[[int, int], None]
CALL_SECONDS = 60.0
PIECE_BYTES = 1 << 20


class Images(Protocol):
    """An engine's. Each call raises CommandError, in the engine's words where it has some."""

    def has(self, name: str) -> bool: ...

    def load(self, archive: Path, progress: Progress) -> Sequence[str]:
        """Takes in an archive as `docker save` writes it; the names that it tells of, which may be none."""
        ...

    def remove(self, name: str) -> None:
        """Takes an image away, unless a container is of it."""
        ...


class DockerImages:
    def __init__(self, engine: DockerEngine) -> None:
        self._engine = engine

    def has(self, name: str) -> bool:
        return self._engine.image(name) is not None

    def load(self, archive: Path, progress: Progress) -> Sequence[str]:
        with archive.open("rb") as file:
            self._engine.load(file)
        return ()

    def remove(self, name: str) -> None:
        self._engine.remove_image(name)


class ContainerdImages:
    """Those in containerd's namespace of Kubernetes. A loop for each call: gRPC's channels are bound to theirs."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def has(self, name: str) -> bool:
        from services.kubelet.runtime.cri.archive_import import image_is_there

        return self._asked(lambda engine: image_is_there(engine, name))

    def load(self, archive: Path, progress: Progress) -> Sequence[str]:
        from services.kubelet.runtime.cri.archive_import import import_archive

        return self._asked(lambda engine: import_archive(engine, archive, progress))

    def remove(self, name: str) -> None:
        from services.kubelet.runtime.cri.archive_import import remove_unused_image

        self._asked(lambda engine: remove_unused_image(engine, name))

    def _asked(self, work: Callable[[Any], Awaitable[T]]) -> T:
        from services.kubelet.runtime.cri.engine import Engine
        from services.kubelet.runtime.port import RuntimeFailure

        async def asked() -> T:
            engine = Engine(self._endpoint, CALL_SECONDS)
            try:
                return await work(engine)
            finally:
                await engine.close()

        try:
            return asyncio.run(asked())
        except RuntimeFailure as error:
            raise CommandError(str(error)) from error


@contextmanager
def images_of(settings: ClusterSettings) -> Iterator[Images]:
    """Raises CommandError where containers are simulated, or where no engine answers."""
    if settings.runtime == "hollow":
        raise CommandError("this cluster simulates containers (--runtime hollow): there is no engine that could have images")
    if settings.runtime == "containerd":
        yield ContainerdImages(settings.container_runtime_endpoint)
        return
    from services.compose.engine import Engine as DockerEngine

    with closing(DockerEngine()) as engine:
        yield DockerImages(engine)


def copy_to_containerd(settings: ClusterSettings, names: Sequence[str], progress: Progress) -> Sequence[str]:
    """Images of this machine's Docker engine into a cluster's containerd. The archive lies on the disk in between: it is read twice."""
    from services.compose.engine import Engine as DockerEngine
    from services.compose.load import find_images

    with closing(DockerEngine()) as engine, tempfile.NamedTemporaryFile(prefix="knarr-load-", suffix=".tar") as kept:
        sizes = sum(image.size_bytes for image in find_images(engine, names).values())
        with engine.save(list(names)) as archive:
            done = 0
            while piece := archive.read(PIECE_BYTES):
                kept.write(piece)
                done += len(piece)
                progress(done, max(done, 2 * sizes))
        kept.flush()
        with images_of(settings) as images:
            return images.load(Path(kept.name), lambda given, total: progress(done + given, done + total))
