"""What the engine tells of a container, as an observation. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.kubelet.runtime.labels import ATTEMPT, CONTAINER_NAME, IMAGE, SANDBOX_ATTEMPT, SPEC_HASH, identity_of
from services.kubelet.runtime.plan import Limits
from services.kubelet.runtime.port import CREATED, EXITED, RUNNING, START_FAILED_EXIT_CODE, Container
from services.kubelet.runtime.signals import signal_name


def container_from(inspected: Mapping[str, Any]) -> Container:
    """An observation from what the engine tells of a container."""
    labels, state = inspected["Config"]["Labels"], inspected["State"]
    status = {"running": RUNNING, "paused": RUNNING, "restarting": RUNNING, "created": CREATED}.get(state["Status"], EXITED)
    error, exit_code = state.get("Error", ""), int(state.get("ExitCode", 0))
    if status == CREATED and error:
        status, exit_code = EXITED, START_FAILED_EXIT_CODE
    started, finished = parse_time(state.get("StartedAt", "")), parse_time(state.get("FinishedAt", ""))
    return Container(
        id=inspected["Id"],
        name=labels.get(CONTAINER_NAME, ""),
        attempt=int(labels.get(ATTEMPT, "0")),
        state=status,
        image=labels.get(IMAGE, ""),
        image_id=image_id(inspected.get("Image", "")),
        spec_hash=labels.get(SPEC_HASH, ""),
        sandbox_attempt=int(labels.get(SANDBOX_ATTEMPT, "0")),
        created_at=parse_time(inspected.get("Created", "")),
        started_at=started,
        finished_at=(finished or started) if status == EXITED else None,
        exit_code=exit_code if status == EXITED else 0,
        oom_killed=bool(state.get("OOMKilled")) and status == EXITED,
        error=error if exit_code == START_FAILED_EXIT_CODE else "",
        limits=_limits_from(inspected.get("HostConfig") or {}),
        identity=identity_of(labels),
        stop_signal=signal_name(inspected["Config"].get("StopSignal") or ""),
    )


def _limits_from(host: Mapping[str, Any]) -> Limits:
    """What the engine lets a container use; 0 is no limit there, too, and less than that one that was taken away."""
    return Limits(
        cpu_shares=int(host.get("CpuShares") or 0),
        cpu_quota_micros=max(int(host.get("CpuQuota") or 0), 0),
        memory_bytes=int(host.get("Memory") or 0),
        oom_score_adj=int(host.get("OomScoreAdj") or 0),
        cpuset=str(host.get("CpusetCpus") or ""),
    )


def image_id(engine_id: str) -> str:
    return f"docker://{engine_id}" if engine_id and "://" not in engine_id else engine_id


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with nanoseconds; None for the engine's zero time."""
    if not text or text.startswith("0001-"):
        return None
    head, _, tail = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{(tail or '0')[:6].ljust(6, '0')}").replace(tzinfo=UTC)


def from_nanoseconds(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp / 1e9, UTC)
