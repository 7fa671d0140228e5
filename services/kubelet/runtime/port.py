"""The runtime port: what the kubelet asks of a container engine.

A runtime keeps the observed state of this node's pods in memory. Its own calls and the engine's
events change it at once; a relist now and then is the net beneath. Reading it costs nothing.
Every method that acts raises ``RuntimeFailure`` with the engine's own words, or
``RuntimeUnavailable`` when the engine cannot be reached.
"""

from __future__ import annotations

import abc
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Self

from services.kubelet.runtime.plan import ContainerPlan, Identity, Limits, PodRef, SandboxPlan
from services.kubelet.runtime.usage import Storage, Usage

RUNNING, EXITED, CREATED = "running", "exited", "created"
# The streams that a process writes to, by their descriptors.
STDOUT, STDERR = 1, 2
# Of a container that could not be started, as Kubernetes tells it.
START_FAILED_EXIT_CODE = 128


class RuntimeFailure(Exception):
    """The engine refused or failed; the message is the engine's."""


class RuntimeUnavailable(RuntimeFailure):
    """The engine cannot be reached."""


class NoSuchImage(RuntimeFailure):
    """The image is not on the node."""


class NoSuchContainer(RuntimeFailure):
    """The container is gone."""


class NoSuchHandler(RuntimeFailure):
    """The engine has nothing of that name to run a pod by."""

    def __init__(self, handler: str) -> None:
        super().__init__(f'failed to get sandbox runtime: no runtime for "{handler}" is configured')


@dataclass(frozen=True, slots=True)
class Sandbox:
    """An observed sandbox. ``ready`` while it runs; ``ip`` is empty on the host network, ``handler`` where the engine's default runs it."""

    id: str
    pod: PodRef
    attempt: int
    ready: bool
    ip: str = ""
    created_at: datetime | None = None
    handler: str = ""


@dataclass(frozen=True, slots=True)
class Container:
    """An observed container. ``state`` is created, running or exited."""

    id: str
    name: str
    attempt: int
    state: str
    image: str = ""
    image_id: str = ""
    spec_hash: str = ""
    sandbox_attempt: int = 0
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    # The engine's words when it could not start the container.
    error: str = ""
    # What it may use now; None where the engine does not say.
    limits: Limits | None = None
    # By which it is asked to end; empty where the engine does not say.
    stop_signal: str = ""
    # As whom it began; None where that is not known.
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class PodObservation:
    """Everything of one pod that is in the engine, oldest first."""

    ref: PodRef
    sandboxes: tuple[Sandbox, ...] = ()
    containers: tuple[Container, ...] = ()

    @property
    def sandbox(self) -> Sandbox | None:
        """The newest sandbox."""
        return max(self.sandboxes, key=lambda sandbox: sandbox.attempt, default=None)

    def latest(self, name: str) -> Container | None:
        """The newest container of that name."""
        found: Container | None = None
        for container in self.containers:
            if container.name == name and (found is None or container.attempt > found.attempt):
                found = container
        return found

    @property
    def parts(self) -> tuple[Sandbox | Container, ...]:
        return (*self.sandboxes, *self.containers)

    @property
    def empty(self) -> bool:
        return not self.parts


@dataclass(frozen=True, slots=True)
class Image:
    """An image on the node. ``user`` is what it runs as by default, ``digest`` may be empty."""

    id: str
    reference: str
    user: str = ""
    digest: str = ""
    stop_signal: str = ""
    size_bytes: int = 0
    # As Go names it; empty where the engine does not say.
    architecture: str = ""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What an image has in /etc/passwd and /etc/group; empty where it has none."""

    passwd: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class LocalImage:
    """All the names an image goes by on the node, digests first, and the engine's id of it."""

    names: tuple[str, ...]
    size_bytes: int
    id: str = ""


@dataclass(frozen=True, slots=True)
class Filesystem:
    """What is to be mounted, as mount(8) is told of it: ``overlay`` twice and ``lowerdir=…``, or ``bind``, a folder and ``rbind``."""

    kind: str
    source: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LogOptions:
    """``tail_lines`` None means all; ``since`` None from the start; ``stream`` STDOUT or STDERR, None for both. The last lines are
    counted over both."""

    follow: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since: datetime | None = None
    stream: int | None = None


class Session(abc.ABC):
    """A process or container one is connected to. Close it always, or leave its block."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @abc.abstractmethod
    async def read(self) -> tuple[int, bytes] | None:
        """The next output: 1 (stdout) or 2 (stderr) and bytes; None at the end."""

    @abc.abstractmethod
    async def write(self, data: bytes) -> None: ...

    @abc.abstractmethod
    async def close_stdin(self) -> None: ...

    @abc.abstractmethod
    async def resize(self, width: int, height: int) -> None: ...

    @abc.abstractmethod
    async def exit_code(self) -> int:
        """Of an exec'd process that has ended; 0 for an attached one."""

    @abc.abstractmethod
    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """``output`` is what the Unhealthy event says after the colon; with ``warning``, a success that the ProbeWarning event tells of."""

    success: bool
    output: str = ""
    warning: bool = False


@dataclass(frozen=True, slots=True)
class ExecCheck:
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HttpCheck:
    host: str
    port: int
    path: str = "/"
    scheme: str = "HTTP"
    headers: tuple[tuple[str, str], ...] = ()
    http2: bool = False
    # Of a lifecycle hook: whatever is answered, it was called.
    hook: bool = False


@dataclass(frozen=True, slots=True)
class TcpCheck:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class GrpcCheck:
    host: str
    port: int
    service: str = ""
    tls: bool = False


Check = ExecCheck | HttpCheck | TcpCheck | GrpcCheck


class Runtime(abc.ABC):
    """A container engine as one node's kubelet sees it."""

    # Whether the containers see what their plans mount. Where they do not, the kubelet makes no files and no mounts for them, and asks
    # for no tokens; what it would refuse or miss it does refuse and miss.
    mounts_files: ClassVar[bool] = True
    # Whether a pod can have users of its own that are others on the node.
    user_namespaces: ClassVar[bool] = False
    # Whether what containers use is used of the machine that the kubelet runs on.
    uses_machine: ClassVar[bool] = True

    @abc.abstractmethod
    def use_pod_cidr(self, pod_cidr: str) -> None:
        """Sets the range of the pods' addresses, CIDR, where it was not known when the runtime was made. Before ``start``."""

    @abc.abstractmethod
    async def start(self) -> None:
        """Connects, prepares network and sandbox image, learns what already runs. Raises RuntimeFailure; may be called again."""

    @abc.abstractmethod
    async def run(self) -> None:
        """Follows the engine until cancelled; reconnects by itself."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Drops connections; containers keep running."""

    @property
    @abc.abstractmethod
    def version(self) -> str:
        """As a node reports it: ``docker://20.10.24``."""

    @property
    @abc.abstractmethod
    def handlers(self) -> tuple[str, ...]:
        """What of the engine may run a pod, by name, beside its default; none before it was asked."""

    @property
    @abc.abstractmethod
    def trouble(self) -> str:
        """Why the engine cannot be used now, in its words; empty when it is well."""

    @abc.abstractmethod
    def observe(self, uid: str) -> PodObservation | None:
        """What the engine holds of a pod, by uid; None: nothing."""

    @abc.abstractmethod
    def observed(self) -> Mapping[str, PodObservation]:
        """All pods of this node by uid."""

    @abc.abstractmethod
    def on_change(self, callback: Callable[[str], None]) -> None:
        """Calls back with a pod's uid after its observation changed, and with "" when ``trouble`` did."""

    @abc.abstractmethod
    async def create_sandbox(self, plan: SandboxPlan) -> Sandbox:
        """Creates and starts it; the same plan again answers the one that is there. Raises NoSuchHandler, too."""

    @abc.abstractmethod
    async def remove_sandbox(self, sandbox: Sandbox) -> None:
        """Ends and removes it; one that is gone is success."""

    @abc.abstractmethod
    async def image(self, reference: str) -> Image:
        """An image on the node; raises NoSuchImage."""

    @property
    def strict_groups(self) -> bool:
        """Whether the groups that an image gives its user can be left out."""
        return True

    async def accounts(self, image: Image) -> Accounts | None:
        """The users and groups that an image knows; None: the engine goes by them itself, as ``strict_groups`` asks it to."""
        return None

    async def show_image(self, image: Image, name: str) -> Filesystem | None:
        """Keeps an image's files on the node, by a name of the caller's, until ``hide_images``, and answers what to mount to see them; the
        same again answers the same. None: they are to be had by ``export``, as a copy. Raises RuntimeFailure."""
        return None

    async def hide_images(self, keep: Collection[str]) -> list[str]:
        """Lets go of what ``show_image`` keeps, but of these names; answers of which. May be repeated. Raises RuntimeFailure."""
        return []

    def export(self, image: Image) -> AsyncIterator[bytes]:
        """The root file system of an image, a tar archive."""
        raise RuntimeFailure("this container runtime cannot show an image as a volume")

    @abc.abstractmethod
    async def images(self) -> list[LocalImage]:
        """The images on the node that have a name."""

    @abc.abstractmethod
    async def pull(self, reference: str, auth: Mapping[str, str] | None = None) -> Image:
        """Fetches an image. ``auth`` has username and password, or identitytoken, or is None."""

    @abc.abstractmethod
    async def create_container(self, plan: ContainerPlan) -> Container:
        """Creates a container; the same name and attempt again answers the one that is there."""

    @abc.abstractmethod
    async def start_container(self, container: Container, pod: PodRef) -> None:
        """Starts a created container."""

    @abc.abstractmethod
    async def update_container(self, container: Container, pod: PodRef, limits: Limits) -> None:
        """Lets a running container use so much from now on; ``oom_score_adj`` and ``cpuset`` stay as they are. Where the engine refuses,
        nothing changes."""

    @abc.abstractmethod
    async def pin_container(self, container: Container, pod: PodRef, cpuset: str) -> None:
        """Lets a running container run on these processors from now on; all else stays as it is."""

    @abc.abstractmethod
    async def stop_container(self, container: Container, pod: PodRef, grace_seconds: float) -> None:
        """Sends the stop signal, after ``grace_seconds`` SIGKILL, and returns when it has ended; one that is gone is success."""

    @abc.abstractmethod
    async def remove_container(self, container: Container, pod: PodRef) -> None:
        """Removes it, running or not; one that is gone is success."""

    @abc.abstractmethod
    def logs(self, container_id: str, options: LogOptions) -> AsyncIterator[bytes]:
        """Its output; closing the iterator closes the engine's stream. Raises NoSuchContainer."""

    @abc.abstractmethod
    async def exec(self, container_id: str, command: tuple[str, ...], *, stdin: bool, tty: bool) -> Session:
        """Starts a command inside."""

    @abc.abstractmethod
    async def attach(self, container_id: str, *, stdin: bool, tty: bool) -> Session:
        """Connects to the main process."""

    @abc.abstractmethod
    async def dial(self, sandbox: Sandbox, port: int) -> socket.socket:
        """A TCP connection to the port on the pod's own loopback, as a socket that does not block. Raises RuntimeFailure."""

    @abc.abstractmethod
    async def check(self, container_id: str, check: Check, timeout_seconds: float) -> ProbeResult:
        """Probes a container once."""

    @abc.abstractmethod
    async def usage(self) -> list[Usage]:
        """The usage of every running container."""

    async def remove_image(self, reference: str) -> None:
        """Takes the name from an image, and removes it where it has no other; one that is gone is success. Raises RuntimeFailure, also
        where a container is made of it."""
        raise RuntimeFailure(f"this runtime removes no images: {reference} stays")

    @property
    def reads_cdi(self) -> bool:
        """Whether the engine reads the node's files of the container device interface itself; else whoever makes plans does."""
        return False

    @property
    def images_folder(self) -> str:
        """Where on the node images and containers lie; empty where that is not known, or on no disk of this machine."""
        return ""

    @property
    def cgroup_driver(self) -> str:
        """How the engine makes control groups: ``cgroupfs`` or ``systemd``; empty where it makes none, or does not say."""
        return ""

    async def storage(self, uids: Collection[str]) -> list[Storage]:
        """What the containers of these pods have written; nothing of what the engine does not tell. Raises RuntimeFailure."""
        return []

    async def sandbox_usage(self) -> list[Usage]:
        """The usage of every sandbox that is ready, its networks among it, without a container's name; of none where the engine does not
        tell."""
        return []
