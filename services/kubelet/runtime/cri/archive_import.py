"""Giving containerd the images of an archive, as `docker save` or `podman save` writes it.

What is in the archive is held against its own words: names and digests come from a stranger. Layers are streamed, whatever their size; a
name that the engine has already means the archive's image from then on, as after `docker load`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import tarfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from knarr.api.containerd.content.v1 import content_pb2 as content
from knarr.api.containerd.images.v1 import images_pb2 as images
from knarr.api.containerd.leases.v1 import leases_pb2 as leases
from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import container_pb2 as containers
from knarr.api.cri.v1 import image_pb2 as pb
from knarr.machinery.forms import write_seconds
from knarr.machinery.times import to_time
from knarr.objects.images import full_name, valid_image
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.image_import import CONFIG, LAYER, MANIFEST, REFERENCE, Blob, name_image, shown
from services.kubelet.runtime.port import RuntimeFailure

# Of one message to the engine.
CHUNK_BYTES = 1 << 20
# What a manifest or a config may have.
MAX_JSON_BYTES = 4 << 20
# How a layer begins that is compressed.
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# A layer of some gigabytes on a slow disk.
LAYER_SECONDS = 1800.0
# What is written is kept for so long, before a name refers to it.
LEASE = timedelta(hours=2)
# What has been read, and how much there is, in bytes.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Layer:
    """A file of the archive; ``size`` in bytes."""

    member: str
    media_type: str
    digest: str
    size: int

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """``names`` are whole ones, with registry and tag; an image that has none cannot be asked for, and is left out."""

    names: tuple[str, ...]
    config: Blob
    layers: tuple[Layer, ...]

    @property
    def manifest(self) -> Blob:
        parts = {"config": self.config.descriptor, "layers": [layer.descriptor for layer in self.layers]}
        return Blob(MANIFEST, json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, **parts}).encode())


class BadArchive(RuntimeFailure):
    """It is no archive of images; the message says what of it is not as it should be."""


def read_images(archive: tarfile.TarFile) -> list[ArchivedImage]:
    """What an archive has, each layer read once for its digest. Raises BadArchive."""
    try:
        listed = json.loads(_small(archive, "manifest.json"))
        return [found for entry in listed if (found := _image(archive, entry)).names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadArchive(f"manifest.json is not as `docker save` writes it: {error}") from error
    except (tarfile.TarError, EOFError, OSError) as error:
        raise BadArchive(f"it ends early or is damaged: {error}") from error


def _image(archive: tarfile.TarFile, entry: dict[str, Any]) -> ArchivedImage:
    names = tuple(str(name) for name in entry.get("RepoTags") or ())
    if wrong := [name for name in names if not valid_image(name)]:
        raise BadArchive(f"manifest.json: {wrong[0]!r} is no image's name")
    config = _small(archive, str(entry["Config"]))
    layers = tuple(_layer(archive, str(member)) for member in entry["Layers"])
    _check(json.loads(config)["rootfs"]["diff_ids"], layers)
    return ArchivedImage(tuple(map(full_name, names)), Blob(CONFIG, config), layers)


def _check(named: list[str], layers: tuple[Layer, ...]) -> None:
    """A layer that is not compressed is named by its digest in the config; of others the engine sees it when it unpacks them."""
    if len(named) != len(layers):
        raise BadArchive(f"{len(layers)} layers are listed, and the image's config names {len(named)}")
    for digest, layer in zip(named, layers, strict=True):
        if layer.media_type == LAYER and layer.digest != digest:
            raise BadArchive(f"{layer.member} is {layer.digest}, and the image's config says {digest}")


def _layer(archive: tarfile.TarFile, member: str) -> Layer:
    digest, size, start = hashlib.sha256(), 0, b""
    with _opened(archive, member) as file:
        while chunk := file.read(CHUNK_BYTES):
            start = start or chunk[:4]
            digest.update(chunk)
            size += len(chunk)
    if not size:
        raise BadArchive(f"{member} is empty")
    media_type = LAYER + ("+gzip" if start.startswith(GZIP) else "+zstd" if start.startswith(ZSTD) else "")
    return Layer(member, media_type, f"sha256:{digest.hexdigest()}", size)


def _small(archive: tarfile.TarFile, member: str) -> bytes:
    with _opened(archive, member) as file:
        found = file.read(MAX_JSON_BYTES + 1)
    if len(found) > MAX_JSON_BYTES:
        raise BadArchive(f"{member} has more than {MAX_JSON_BYTES >> 20} MB")
    return found


def _opened(archive: tarfile.TarFile, member: str) -> IO[bytes]:
    """A file in it; a layer that two images share may be a link to another one within the archive."""
    try:
        found = archive.extractfile(member)
    except (KeyError, RecursionError):
        found = None
    if found is None:
        raise BadArchive(f"there is no {member} in it; make it by `docker save IMAGE`")
    return found


async def import_archive(engine: Engine, path: Path, progress: Progress = lambda done, total: None) -> list[str]:
    """Gives the engine all images of an archive; their whole names. Raises BadArchive, RuntimeFailure."""
    try:
        with tarfile.open(path) as archive:
            found = await asyncio.to_thread(read_images, archive)
            await _give(engine, archive, found, progress)
    except tarfile.TarError as error:
        raise BadArchive(f"{path} is no tar archive: {error}") from error
    return [name for image in found for name in image.names]


async def _give(engine: Engine, archive: tarfile.TarFile, found: list[ArchivedImage], progress: Progress) -> None:
    # Its collector may run between two of these calls, when nothing refers to a blob yet.
    lease = f"knarr-{uuid.uuid4().hex}"
    ends = write_seconds(to_time(datetime.now(UTC) + LEASE).seconds)
    await engine.leases("Create", leases.CreateRequest(id=lease, labels={"containerd.io/gc.expire": ends}))
    layers = {layer.digest: layer for image in found for layer in image.layers}
    done, total = 0, sum(layer.size for layer in layers.values())
    for layer in layers.values():
        with _opened(archive, layer.member) as file:
            await engine.stream_content(_pieces(file, layer), lease, LAYER_SECONDS)
        done += layer.size
        progress(done, total)
    for image in found:
        await _name(engine, image, lease)


def _pieces(file: IO[bytes], layer: Layer) -> Iterator[content.WriteContentRequest]:
    # Of its own: one that was cut off has got further, and would not be begun again.
    reference, offset = f"knarr-{layer.digest}-{uuid.uuid4().hex}", 0
    while chunk := file.read(CHUNK_BYTES):
        last = offset + len(chunk) == layer.size
        action = content.COMMIT if last else content.WRITE
        yield content.WriteContentRequest(action=action, ref=reference, total=layer.size, expected=layer.digest, offset=offset, data=chunk)
        offset += len(chunk)


async def _name(engine: Engine, image: ArchivedImage, lease: str) -> None:
    manifest = image.manifest
    kept = {f"{REFERENCE}.config": image.config.digest, **{f"{REFERENCE}.l.{n}": layer.digest for n, layer in enumerate(image.layers)}}
    for blob, labels in ((image.config, {}), (manifest, kept)):
        await engine.write_content(
            content.WriteContentRequest(
                action=content.COMMIT, ref=f"knarr-{blob.digest}", total=len(blob.data), expected=blob.digest, data=blob.data, labels=labels
            ),
            lease,
        )
    target = images.Descriptor(media_type=MANIFEST, digest=manifest.digest, size=len(manifest.data))
    for name in image.names:
        await name_image(engine, name, target, lease)
        await shown(engine, name, image.config.digest)


async def image_is_there(engine: Engine, name: str) -> bool:
    """Whether it has an image of a name, in whichever spelling."""
    told = await engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=full_name(name))))
    return bool(told.HasField("image"))


async def remove_unused_image(engine: Engine, name: str) -> None:
    """Takes an image away unless a container is of it."""
    told = await engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=full_name(name))))
    listed = await engine.runtime("ListContainers", containers.ListContainersRequest())
    if told.HasField("image") and all(container.image_ref != told.image.id for container in listed.containers):
        with contextlib.suppress(RuntimeFailure):
            await engine.image("RemoveImage", pb.RemoveImageRequest(image=common.ImageSpec(image=full_name(name))))
