"""One line about a pod, as ``kubectl get pods`` shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import get_condition, is_true
from knarr.objects.keys import is_deleting
from knarr.objects.pods import is_finished, is_sidecar
from services.apiserver.strategies.duration import since
from services.apiserver.strategies.table import NONE, age, columns

COLUMNS = columns(
    "Name", "Ready", "Status", "Restarts", "Age", wide=("IP", "Node", "Nominated Node", "Readiness Gates"), integers=("Restarts",)
)


@dataclass(slots=True)
class _Tally:
    """Restarts counted over containers, with the end of the last one that was seen to end."""

    restarts: int = 0
    last: Any = None

    def add(self, status: core.ContainerStatus) -> None:
        self.restarts += status.restart_count
        terminated = status.last_state.terminated
        if terminated.HasField("finished_at") and (self.last is None or terminated.finished_at.seconds > self.last.seconds):
            self.last = terminated.finished_at

    def text(self, now: datetime) -> int | str:
        if self.restarts and self.last is not None and self.last.seconds:
            return f"{self.restarts} ({since(self.last, now)} ago)"
        return self.restarts


@dataclass(slots=True)
class _Line:
    """What the containers say: how many are ready, in which state the pod is, how often they restarted."""

    ready: int
    total: int
    status: str
    tally: _Tally


def pod_cells(pod: core.Pod, now: datetime) -> list[object]:
    line = _line(pod)
    return [
        pod.metadata.name,
        f"{line.ready}/{line.total}",
        _deletion(pod) or line.status,
        line.tally.text(now),
        age(pod, now),
        (pod.status.pod_ips[0].ip if pod.status.pod_ips else pod.status.pod_ip) or NONE,
        pod.spec.node_name or NONE,
        pod.status.nominated_node_name or NONE,
        _gates(pod),
    ]


def _deletion(pod: core.Pod) -> str:
    if not is_deleting(pod):
        return ""
    if pod.status.reason == "NodeLost":
        return "Unknown"
    return "" if is_finished(pod) else "Terminating"


def _gates(pod: core.Pod) -> str:
    gates = pod.spec.readiness_gates
    if not gates:
        return NONE
    return f"{sum(is_true(pod.status, gate.condition_type) for gate in gates)}/{len(gates)}"


def _line(pod: core.Pod) -> _Line:
    status = pod.status.reason or pod.status.phase
    scheduled = get_condition(pod.status, "PodScheduled")
    if scheduled is not None and scheduled.reason == "SchedulingGated":
        status = "SchedulingGated"
    sidecars = {item.name for item in pod.spec.init_containers if is_sidecar(item)}
    line = _Line(0, len(pod.spec.containers) + len(sidecars), status, _Tally())
    sidecar_tally = _Tally()
    initializing = _initialization(pod, sidecars, line, sidecar_tally)
    if not initializing or is_true(pod.status, "Initialized"):
        line.tally = sidecar_tally
        _main(pod, line)
    return line


def _initialization(pod: core.Pod, sidecars: set[str], line: _Line, sidecar_tally: _Tally) -> bool:
    """Whether an init container is still to finish; says in ``line.status`` which one or why."""
    for index, status in enumerate(pod.status.init_container_statuses):
        line.tally.add(status)
        if status.name in sidecars:
            sidecar_tally.add(status)
        state = status.state
        if state.HasField("terminated") and state.terminated.exit_code == 0:
            continue
        if status.name in sidecars and status.started:
            line.ready += status.ready
            continue
        if state.HasField("terminated"):
            line.status = "Init:" + (state.terminated.reason or _ending(state.terminated))
        elif state.HasField("waiting") and state.waiting.reason not in ("", "PodInitializing"):
            line.status = "Init:" + state.waiting.reason
        else:
            line.status = f"Init:{index}/{len(pod.spec.init_containers)}"
        return True
    return False


def _main(pod: core.Pod, line: _Line) -> None:
    running = False
    for status in reversed(pod.status.container_statuses):
        line.tally.add(status)
        state = status.state
        if state.HasField("waiting") and state.waiting.reason:
            line.status = state.waiting.reason
        elif state.HasField("terminated"):
            line.status = state.terminated.reason or _ending(state.terminated)
        elif status.ready and state.HasField("running"):
            running = True
            line.ready += 1
    if line.status == "Completed" and running:
        line.status = "Running" if is_true(pod.status, "Ready") else "NotReady"


def _ending(terminated: core.ContainerStateTerminated) -> str:
    return f"Signal:{terminated.signal}" if terminated.signal else f"ExitCode:{terminated.exit_code}"
