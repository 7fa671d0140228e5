"""Asking a plugin who it is, and telling it whether it was taken, by the public contract (proto/knarr/api/pluginregistration/v1)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from knarr.api.pluginregistration.v1 import registration_pb2 as pb
from knarr.api.pluginregistration.v1.registration_pb2_grpc import RegistrationStub
from knarr.client.csi import QUESTION_SECONDS
from services.kubelet.csi.client import DriverError, ask_at

DRIVER = "CSIPlugin"
# The version of the contract that is spoken; of it, whatever comes after the point.
MAJOR = "1"


class PluginHandler(Protocol):
    """Looks after the plugins of another kind that make themselves known in the same folder."""

    kind: str

    def take(self, info: pb.PluginInfo, socket: Path) -> None:
        """The plugin that said so at a socket. Raises DriverError for one that is not taken."""

    def lose(self, socket: Path) -> None:
        """Nobody of the kind is at a socket any more, if somebody was."""


@contextmanager
def the_very(socket: Path) -> Iterator[Path]:
    """A path that leads to this one socket for as long as the block lasts, whoever takes its name meanwhile: what one plugin is told,
    another one must not hear. Raises OSError."""
    handle = os.open(socket, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


async def ask(socket: Path) -> pb.PluginInfo:
    """Raises DriverError."""
    request = pb.InfoRequest()
    info: pb.PluginInfo = await ask_at(socket, lambda channel: RegistrationStub(channel).GetInfo(request, timeout=QUESTION_SECONDS))
    return info


async def tell(socket: Path, refusal: str) -> None:
    """Whether it was taken; ``refusal`` empty: it was. Raises DriverError."""
    status = pb.RegistrationStatus(plugin_registered=not refusal, error=refusal)
    await ask_at(socket, lambda channel: RegistrationStub(channel).NotifyRegistrationStatus(status, timeout=QUESTION_SECONDS))


def check(info: pb.PluginInfo, socket: Path) -> None:
    """Raises DriverError for a plugin that is none of volumes, or speaks another version of the contract."""
    if info.type != DRIVER:
        raise DriverError(f"no handler registered for plugin type: {info.type} at socket {socket}")
    if not info.name:
        raise DriverError(f"the plugin at socket {socket} has no name")
    if not any(_major(version) == MAJOR for version in info.supported_versions):
        raise DriverError(f"CSI driver {info.name} speaks {_list(info.supported_versions)}, and this kubelet {MAJOR}.x alone")


def _major(version: str) -> str:
    return version.removeprefix("v").partition(".")[0]


def _list(versions: Sequence[str]) -> str:
    return ", ".join(versions) or "no version"
