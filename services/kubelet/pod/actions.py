"""What may be done about a pod, and a decision as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.cgroups.values import GroupLimits
from services.kubelet.runtime.plan import Limits
from services.kubelet.runtime.port import Container, Sandbox

# What an action occupies that is not a container.
SANDBOX, VOLUMES, CLEANUP, GROUP = "/sandbox", "/volumes", "/cleanup", "/group"
# What follows the name of a container whose processors are being changed.
CPUS = "/cpus"

# Why a container waits that was removed because its whole pod starts anew, and how it ended by that.
RESTARTING_ALL = "RestartingAllContainers"


@dataclass(frozen=True, slots=True)
class PrepareVolumes:
    """Make the pod's directories and volumes."""


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """Make the pod's sandbox."""

    attempt: int


@dataclass(frozen=True, slots=True)
class RemoveSandboxes:
    """End and remove the pod's sandboxes. ``changed``: to make a new one."""

    sandboxes: tuple[Sandbox, ...]
    changed: bool = False


@dataclass(frozen=True, slots=True)
class StartContainer:
    """Fetch the image if need be, create and start. ``after`` is the exited container it replaces."""

    spec: core.Container
    attempt: int
    after: Container | None = None


@dataclass(frozen=True, slots=True)
class RunPostStart:
    """Run the postStart hook of a container that runs now."""

    spec: core.Container
    container: Container


@dataclass(frozen=True, slots=True)
class KillContainer:
    """Run preStop, stop signal, SIGKILL after the grace. ``message`` is the Killing event's.

    ``again``: its successor starts whatever it exits with.
    """

    spec: core.Container | None
    container: Container
    grace_seconds: float
    message: str
    again: bool = False


@dataclass(frozen=True, slots=True)
class RunPreStop:
    """Run the preStop hook of a container whose turn to end comes later."""

    spec: core.Container
    container: Container
    grace_seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class HoldPod:
    """Hold the control group of a pod that runs to other amounts."""

    limits: GroupLimits


@dataclass(frozen=True, slots=True)
class ResizeContainer:
    """Hold a container that runs to other amounts of CPU and memory."""

    spec: core.Container
    container: Container
    limits: Limits


@dataclass(frozen=True, slots=True)
class PinContainer:
    """Let a container that runs run on other processors."""

    container: Container
    cpuset: str


@dataclass(frozen=True, slots=True)
class RemoveContainers:
    """Remove dead containers that nobody needs any more. ``anew``: those of them for whose end the whole pod starts anew, which waits the
    longer the more often it comes."""

    containers: tuple[Container, ...]
    anew: tuple[Container, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseVolumes:
    """Nothing runs any more: drivers take their volumes back, so that another node may have them, and the pod's own go, with what they held
    of memory and disk. Its containers stay, for their logs."""


@dataclass(frozen=True, slots=True)
class CleanUp:
    """Nothing runs and nothing is left in the engine: drop the volumes and directories."""


Action = (
    PrepareVolumes
    | CreateSandbox
    | RemoveSandboxes
    | StartContainer
    | RunPostStart
    | KillContainer
    | RunPreStop
    | HoldPod
    | ResizeContainer
    | PinContainer
    | RemoveContainers
    | ReleaseVolumes
    | CleanUp
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run, as its status says it."""

    reason: str
    message: str = ""


@dataclass(slots=True)
class Decision:
    """``wake_at``: look again then at the latest. ``done``: the pod needs nothing more, ever."""

    actions: list[Action] = field(default_factory=list)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    wake_at: datetime | None = None
    activity: str = ""
    done: bool = False

    def wake(self, at: datetime) -> None:
        self.wake_at = at if self.wake_at is None else min(self.wake_at, at)


def action_key(action: Action) -> str:
    """What an action occupies: one action per key runs at a time."""
    if isinstance(action, StartContainer | RunPostStart | ResizeContainer):
        return action.spec.name
    if isinstance(action, KillContainer | RunPreStop):
        return action.container.name
    if isinstance(action, PinContainer):
        # Also of one that is being stopped, which may take its time.
        return f"{action.container.name}{CPUS}"
    if isinstance(action, HoldPod):
        return GROUP
    if isinstance(action, PrepareVolumes):
        return VOLUMES
    return SANDBOX if isinstance(action, CreateSandbox | RemoveSandboxes) else CLEANUP
