"""Profiles of seccomp that the node keeps for its containers, below the kubelet's folder as Kubernetes has them."""

from __future__ import annotations

import json
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.beneath import opened, read_beneath
from services.kubelet.runtime.plan import SeccompProfile

FOLDER = "seccomp"
LOCALHOST, UNCONFINED = "Localhost", "Unconfined"


class NoProfile(Exception):
    """Why there is no such profile, in Kubernetes' words: the message of CreateContainerError."""


def seccomp_of(context: core.SecurityContext, pod_context: core.PodSecurityContext) -> core.SeccompProfile:
    """The container's own, else its pod's."""
    return (context if context.HasField("seccomp_profile") else pod_context).seccomp_profile


def app_armor_of(context: core.SecurityContext, pod_context: core.PodSecurityContext) -> core.AppArmorProfile:
    """The container's own, else its pod's."""
    return (context if context.HasField("app_armor_profile") else pod_context).app_armor_profile


def read_seccomp(root: str, name: str) -> SeccompProfile:
    """The profile ``name`` of the kubelet's folder ``root``; no link leads out of the folder of profiles. Raises NoProfile."""
    folder = Path(root) / FOLDER
    path = folder / name
    try:
        with opened(folder) as handle:
            text, _ = read_beneath(handle, name, links=True)
        json.loads(text)
        return SeccompProfile(str(path), text.decode())
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise NoProfile(f'cannot load seccomp profile "{path}": open {path}: {words}') from error
    except ValueError as error:
        raise NoProfile(f'cannot load seccomp profile "{path}": decoding seccomp profile failed: {error}') from error
