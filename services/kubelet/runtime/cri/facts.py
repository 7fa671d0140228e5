"""What an engine is: its name and version, what may run pods in it, and how it was set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knarr.api.cri.v1 import status_pb2 as pb
from services.kubelet.runtime.cri.engine import Engine
from services.kubelet.runtime.cri.statuses import json_of

CNI_CONFIG = Path("/etc/cni/net.d")
NETWORK_READY = "NetworkReady"


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """``handlers`` by name; ``sandbox_image`` is empty where the engine does not say; ``networks`` are those it has loaded."""

    handlers: tuple[str, ...] = ()
    sandbox_image: str = ""
    network_folder: Path = CNI_CONFIG
    networks: tuple[str, ...] = ()
    # Where it keeps images and containers; empty where it does not say.
    root: str = ""
    # How it makes control groups, `cgroupfs` or `systemd`; empty where it does not say.
    cgroup_driver: str = ""
    # Which of containerd's keeps the layers of images; empty where the engine does not say.
    snapshotter: str = ""
    # Whether it can leave out the groups that an image gives its user.
    strict_groups: bool = False
    # Whether it finds devices in the files of the container device interface. One that does not say so leaves them out unheard.
    reads_cdi: bool = False
    # Why the engine cannot make pods now; empty when it can. The network's state apart, which is there after its configuration only.
    trouble: str = ""
    network_trouble: str = ""


async def read_version(engine: Engine) -> tuple[str, str]:
    """The engine's name, as `containerd`, and its version."""
    told = await engine.runtime("Version", pb.VersionRequest(version="v1"))
    return told.runtime_name, told.runtime_version.removeprefix("v").partition("~")[0]


async def read_facts(engine: Engine) -> EngineFacts:
    """Asks the engine. Raises RuntimeFailure."""
    return facts_of(await engine.runtime("Status", pb.StatusRequest(verbose=True)))


def facts_of(told: pb.StatusResponse) -> EngineFacts:
    """Pure. Engines say more than the contract's part in a form of their own: what is not found there is taken to be as usual."""
    config = json_of(told.info, "config")
    names = {handler.name for handler in told.runtime_handlers if handler.name}
    names |= set((config.get("containerd") or {}).get("runtimes") or {})
    folder = (config.get("cni") or {}).get("confDir") or str(CNI_CONFIG)
    loaded = [entry.get("Config") or {} for entry in json_of(told.info, "cniconfig").get("Networks") or []]
    conditions = {condition.type: condition for condition in told.status.conditions}
    return EngineFacts(
        tuple(sorted(names)),
        str(config.get("sandboxImage") or ""),
        Path(folder),
        tuple(str(entry.get("Name") or "") for entry in loaded),
        str(config.get("containerdRootDir") or ""),
        _cgroup_driver(config.get("containerd") or {}),
        str((config.get("containerd") or {}).get("snapshotter") or ""),
        told.features.supplemental_groups_policy,
        bool(config.get("enableCDI")),
        "; ".join(_words(found) for kind, found in conditions.items() if kind != NETWORK_READY and not found.status),
        _network_words(conditions),
    )


def _cgroup_driver(containerd: Mapping[str, Any]) -> str:
    """As the default runtime is set up."""
    default = (containerd.get("runtimes") or {}).get(containerd.get("defaultRuntimeName") or "")
    if default is None:
        return ""
    return "systemd" if (default.get("options") or {}).get("SystemdCgroup") else "cgroupfs"


def _network_words(conditions: Mapping[str, pb.RuntimeCondition]) -> str:
    found = conditions.get(NETWORK_READY)
    return "" if found is None or found.status else _words(found)


def _words(condition: pb.RuntimeCondition) -> str:
    return condition.message or condition.reason or f"{condition.type} is false"
