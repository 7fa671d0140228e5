"""Giving containerd an image that no registry has, by its own services: blobs by their digest, and a name for them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from knarr.api.containerd.content.v1 import content_pb2 as content
from knarr.api.containerd.images.v1 import images_pb2 as images
from knarr.api.containerd.leases.v1 import leases_pb2 as leases
from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import image_pb2 as pb
from knarr.machinery.forms import write_seconds
from knarr.machinery.times import to_time
from knarr.objects.images import full_name
from knarr.service.architecture import own_architecture
from services.kubelet.runtime.cri.engine import Engine, EngineAlreadyExists
from services.kubelet.runtime.pause import pause_archive, pause_program
from services.kubelet.runtime.port import RuntimeFailure

LAYER = "application/vnd.oci.image.layer.v1.tar"
CONFIG = "application/vnd.oci.image.config.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LEASE = timedelta(minutes=10)
# What containerd's own collector keeps, because of what.
REFERENCE = "containerd.io/gc.ref.content"
# The engine's part for the contract hears of a new image a moment later.
LOOKS, LOOK_SECONDS = 200, 0.02


class Blob(NamedTuple):
    media_type: str
    data: bytes

    @property
    def digest(self) -> str:
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    @property
    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


def image_blobs(archive: bytes, settings: Mapping[str, Any]) -> tuple[Blob, Blob, Blob]:
    """The layer, the config and the manifest of an image of one tar. ``settings`` are the image's, as `Cmd` and `Env`. Pure."""
    layer = Blob(LAYER, archive)
    config = {
        "architecture": own_architecture(),
        "os": "linux",
        "config": dict(settings),
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    }
    config_blob = Blob(CONFIG, json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config_blob.descriptor, "layers": [layer.descriptor]}
    return layer, config_blob, Blob(MANIFEST, json.dumps(manifest).encode())


async def import_image(engine: Engine, name: str, archive: bytes, settings: Mapping[str, Any]) -> None:
    """Makes the image and waits until the engine shows it. ``name`` is the whole one: with registry and tag. Raises RuntimeFailure."""
    layer, config, manifest = image_blobs(archive, settings)
    # Its collector may run between two of these calls, when nothing refers to a blob yet.
    lease = f"knarr-{uuid.uuid4().hex}"
    ends = write_seconds(to_time(datetime.now(UTC) + LEASE).seconds)
    await engine.leases("Create", leases.CreateRequest(id=lease, labels={"containerd.io/gc.expire": ends}))
    await _write(engine, layer, {}, lease)
    await _write(engine, config, {}, lease)
    await _write(engine, manifest, {f"{REFERENCE}.config": config.digest, f"{REFERENCE}.l.0": layer.digest}, lease)
    target = images.Descriptor(media_type=MANIFEST, digest=manifest.digest, size=len(manifest.data))
    with contextlib.suppress(EngineAlreadyExists):
        await engine.create_image(images.CreateImageRequest(image=images.Image(name=name, target=target)), lease)
    for _ in range(LOOKS):
        if await has_image(engine, name):
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise RuntimeFailure(f"the container runtime does not show the image {name} that it was given")


async def _write(engine: Engine, blob: Blob, labels: Mapping[str, str], lease: str) -> None:
    size = len(blob.data)
    await engine.write_content(
        content.WriteContentRequest(
            action=content.COMMIT, ref=f"knarr-{blob.digest}", total=size, expected=blob.digest, data=blob.data, labels=labels
        ),
        lease,
    )


async def name_image(engine: Engine, name: str, target: images.Descriptor, lease: str = "") -> None:
    """Has a name stand for an image, whatever it stood for."""
    named = images.Image(name=name, target=target)
    try:
        await engine.create_image(images.CreateImageRequest(image=named), lease)
    except EngineAlreadyExists:
        await engine.update_image(images.UpdateImageRequest(image=named), lease)


async def give_name(engine: Engine, name: str, other: str) -> None:
    """Has ``other`` stand for the image ``name``, whatever it stood for; returns when the engine shows it so. Raises RuntimeFailure."""
    found = await engine.get_image(images.GetImageRequest(name=name))
    told = await engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=name)))
    await name_image(engine, other, found.image.target)
    await shown(engine, other, told.image.id)


async def shown(engine: Engine, name: str, identity: str) -> None:
    """Returns when the engine's part for the contract, which hears of it a moment later, knows a name as that of an image."""
    for _ in range(LOOKS):
        told = await engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=name)))
        if told.image.id == identity:
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise RuntimeFailure(f"the container runtime does not show the image {name} that it was given")


async def has_image(engine: Engine, name: str) -> bool:
    told = await engine.image("ImageStatus", pb.ImageStatusRequest(image=common.ImageSpec(image=name)))
    return bool(told.HasField("image"))


async def ensure_sandbox_image(engine: Engine, name: str) -> None:
    """Gives the engine the image that it makes sandboxes of unless it has it: so that none is fetched, and none need be there to be."""
    if not name or await has_image(engine, name):
        return
    program, command = await asyncio.to_thread(pause_program)
    await import_image(engine, full_name(name), pause_archive(program), {"Cmd": list(command)})
