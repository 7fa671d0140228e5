"""What an engine says of sandboxes and containers, as observations. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2
from services.kubelet.runtime.labels import (
    ATTEMPT,
    CONTAINER_NAME,
    IMAGE,
    SANDBOX_ATTEMPT,
    SPEC_HASH,
    STOP_SIGNAL,
    identity_of,
    sandbox_from,
)
from services.kubelet.runtime.plan import Limits
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, Container, Sandbox

OOM_KILLED, START_FAILED = "OOMKilled", "StartError"
STATES = {cri.CONTAINER_CREATED: CREATED, cri.CONTAINER_RUNNING: RUNNING}


def sandbox_of(status: sandbox_pb2.PodSandboxStatus) -> Sandbox:
    ready = status.state == sandbox_pb2.SANDBOX_READY
    found = sandbox_from(status.id, status.labels, ready=ready, created_at=moment(status.created_at))
    return replace(found, ip=status.network.ip)


def container_of(response: cri.ContainerStatusResponse, scheme: str) -> Container:
    """An observation; ``scheme`` is the engine's name, as ids have it."""
    status = response.status
    labels, state = status.labels, STATES.get(status.state, EXITED)
    ended = state == EXITED
    return Container(
        id=status.id,
        name=labels.get(CONTAINER_NAME, ""),
        attempt=int(labels.get(ATTEMPT, "0")),
        state=state,
        image=labels.get(IMAGE, ""),
        image_id=image_id(status.image_ref, scheme),
        spec_hash=labels.get(SPEC_HASH, ""),
        sandbox_attempt=int(labels.get(SANDBOX_ATTEMPT, "0")),
        created_at=moment(status.created_at),
        started_at=moment(status.started_at),
        # An engine may stamp an end before the start that it follows on within microseconds.
        finished_at=moment(max(status.finished_at, status.started_at)) if ended else None,
        exit_code=status.exit_code if ended else 0,
        oom_killed=ended and status.reason == OOM_KILLED,
        error=status.message if ended and status.reason == START_FAILED else "",
        limits=_limits(response),
        identity=identity_of(labels),
        stop_signal=labels.get(STOP_SIGNAL, ""),
    )


def image_id(reference: str, scheme: str) -> str:
    """As a pod's status tells it: what may be asked for again, or the engine's id."""
    return f"{scheme}://{reference}" if reference.startswith("sha256:") else reference


def _limits(response: cri.ContainerStatusResponse) -> Limits | None:
    """What the engine lets a container use: from its status, or where that has no such part from what it says beside; else None."""
    if response.status.HasField("resources"):
        told: common.LinuxContainerResources = response.status.resources.linux
        return Limits(told.cpu_shares, max(told.cpu_quota, 0), max(told.memory_limit_in_bytes, 0), told.oom_score_adj, told.cpuset_cpus)
    spec = json_of(response.info, "info").get("runtimeSpec") or {}
    found = (spec.get("linux") or {}).get("resources")
    if found is None:
        return None
    cpu, memory = found.get("cpu") or {}, found.get("memory") or {}
    return Limits(
        int(cpu.get("shares") or 0),
        max(int(cpu.get("quota") or 0), 0),
        max(int(memory.get("limit") or 0), 0),
        int((spec.get("process") or {}).get("oomScoreAdj") or 0),
        str(cpu.get("cpus") or ""),
    )


def json_of(info: Mapping[str, str], key: str) -> dict[str, Any]:
    """A part of what an engine says in its own form; empty where it says none, or says it otherwise."""
    try:
        found = json.loads(info.get(key) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def moment(nanoseconds: int) -> datetime | None:
    """None for a time that has not been."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds > 0 else None
