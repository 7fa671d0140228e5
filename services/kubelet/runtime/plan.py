"""What a runtime is asked to make: a sandbox or a container, wholly resolved.

A plan names no ConfigMap, no field of a pod and no default that depends on the node: whoever made it has looked all of that up.
A runtime translates it into its engine's words and decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod by namespace, name and uid."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class SandboxPlan:
    """A pod's sandbox: what its containers share. ``attempt`` counts the sandboxes of this pod from 0.

    ``handler`` is what of the engine runs the pod, empty for its default; ``cpu_shares`` is for that, beside what the containers get.
    """

    pod: PodRef
    attempt: int
    hostname: str
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    handler: str = ""
    cpu_shares: int = 2
    # The control group of the pod, as the engine is told it; empty: what the engine likes.
    cgroup_parent: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A path of the node seen inside a container.

    Where ``volume`` is given, whoever carries the plan out mounts it at ``source`` before the engine looks there: what of it lies at
    ``sub_path``, with ``attributes`` (``ro``, ``nosuid``, ``nodev``, ``noexec``), ``recursive`` for all that is mounted below it too. The
    engine then sets none, since it would take them away where it sets another.
    """

    source: str
    target: str
    read_only: bool = False
    propagation: str = ""
    volume: str = ""
    sub_path: str = ""
    attributes: tuple[str, ...] = ()
    recursive: bool = False
    # Nothing is made in the volume: a ``sub_path`` that is missing is an error.
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the node as a container has it. ``permissions``: of ``rwm`` what it may do there, where somebody says so."""

    source: str
    target: str
    read_only: bool = False
    permissions: str = ""

    @property
    def access(self) -> str:
        return self.permissions or ("r" if self.read_only else "rwm")


@dataclass(frozen=True, slots=True)
class Process:
    """What runs in a container. ``command`` and ``args`` are empty to keep the image's, ``working_dir`` too."""

    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    # Names and values, in their order.
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Identity:
    """The user and groups of a container's first process; ``groups`` are those beside ``gid``."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class SeccompProfile:
    """One of the node's: where it lies, and what it says, as JSON."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Security:
    """As whom a container runs and what it may.

    ``user`` is ``user[:group]``, empty to keep the image's; ``identity`` where that is known to the number. ``strict_groups``: the image's
    own groups are not added. ``app_armor`` is ``unconfined`` or a profile of the node, empty for the engine's own; ``selinux`` the parts
    of a label, as ``type:spc_t``.
    """

    user: str = ""
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    no_new_privileges: bool = False
    unconfined_seccomp: bool = False
    read_only_root: bool = False
    identity: Identity | None = None
    strict_groups: bool = False
    seccomp: SeccompProfile | None = None
    app_armor: str = ""
    selinux: tuple[str, ...] = ()
    # Nothing of /proc is hidden or read-only.
    unmasked_proc: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use of the machine. ``cpu_quota_micros`` is per 100 ms; it and ``memory_bytes`` are 0 for no limit. ``cpuset``
    are the processors that it runs on, as ``0-2,7``, empty for all; ``swap_bytes`` what it may have beside its memory."""

    cpu_shares: int = 2
    cpu_quota_micros: int = 0
    memory_bytes: int = 0
    oom_score_adj: int = 0
    cpuset: str = ""
    swap_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which of the kernel's namespaces are not a container's own: network, IPC and names are its pod's unless they are the node's.

    ``process_of`` is the id of another container of the pod whose processes it sees; empty: of none.
    """

    share_process: bool = False
    host_pid: bool = False
    host_network: bool = False
    host_ipc: bool = False
    process_of: str = ""


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """One container of a pod. ``attempt`` is its restart count; ``sandbox_attempt`` tells for which of the pod's sandboxes it is made."""

    pod: PodRef
    sandbox_id: str
    name: str
    attempt: int
    image: str
    # Told again by the runtime with the container, so that a changed spec is noticed.
    spec_hash: str
    sandbox_attempt: int = 0
    process: Process = Process()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    # Devices that the engine finds in the node's files of the container device interface, by name.
    cdi_devices: tuple[str, ...] = ()
    security: Security = Security()
    limits: Limits = Limits()
    namespaces: Namespaces = Namespaces()
    # As its sandbox's.
    handler: str = ""
    cgroup_parent: str = ""
    # By which it is asked to end, as SIGUSR1; empty for the image's.
    stop_signal: str = ""
    # The engine's id of the image that was found or fetched for it: its name may stand for another one by now. Empty: whatever that is.
    image_id: str = ""
