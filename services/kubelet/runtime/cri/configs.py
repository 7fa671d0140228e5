"""The messages by which an engine is asked to make things. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from knarr.api.cri.v1 import common_pb2 as common
from knarr.api.cri.v1 import container_pb2 as cri
from knarr.api.cri.v1 import sandbox_pb2
from services.kubelet.cpu import PERIOD_MICROS, UNLIMITED
from services.kubelet.runtime.cri.log_files import log_path, pod_logs
from services.kubelet.runtime.labels import STOP_SIGNAL, container_labels, sandbox_labels
from services.kubelet.runtime.plan import ContainerPlan, Device, Limits, Mount, Namespaces, PodRef, SandboxPlan, Security
from services.kubelet.runtime.port import Image
from services.kubelet.runtime.signals import signal_name

# What of /proc and /sys containers do not see, and what they may not write, as with Kubernetes' kubelet.
MASKED = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# The annotation of a sandbox that holds its host name: no answer of the engine has it.
HOSTNAME = "io.knarr.hostname"
POD, CONTAINER, NODE, TARGET = common.POD, common.CONTAINER, common.NODE, common.TARGET
PROPAGATIONS = {"rslave": cri.PROPAGATION_HOST_TO_CONTAINER, "rshared": cri.PROPAGATION_BIDIRECTIONAL}


def sandbox_config(plan: SandboxPlan, logs: Path, own: Mapping[str, str]) -> sandbox_pb2.PodSandboxConfig:
    """The sandbox. ``own`` labels name cluster and node; ``logs`` is where all pods' are."""
    config = _sandbox_base(plan.pod, plan.attempt, logs, plan.cgroup_parent)
    if not plan.host_network:
        config.hostname = config.annotations[HOSTNAME] = plan.hostname
    config.labels.update({**own, **plan.labels, **sandbox_labels(plan, "")})
    config.linux.sysctls.update(plan.sysctls)
    config.linux.resources.cpu_shares = plan.cpu_shares
    context = config.linux.security_context
    context.readonly_rootfs = True
    context.seccomp.profile_type = common.SecurityProfile.RuntimeDefault
    options = context.namespace_options
    options.network = NODE if plan.host_network else POD
    options.pid = NODE if plan.host_pid else CONTAINER
    options.ipc = NODE if plan.host_ipc else POD
    return config


def _sandbox_base(pod: PodRef, attempt: int, logs: Path, group: str) -> sandbox_pb2.PodSandboxConfig:
    config = sandbox_pb2.PodSandboxConfig(log_directory=str(pod_logs(logs, pod)))
    config.metadata.name, config.metadata.namespace, config.metadata.uid = pod.name, pod.namespace, pod.uid
    config.metadata.attempt = attempt
    config.linux.cgroup_parent = group
    return config


def container_request(plan: ContainerPlan, image: Image, hostname: str, logs: Path, own: Mapping[str, str]) -> cri.CreateContainerRequest:
    """A container in its pod's sandbox. ``hostname`` is the sandbox's, empty on the node's network."""
    request = cri.CreateContainerRequest(pod_sandbox_id=plan.sandbox_id)
    request.sandbox_config.CopyFrom(_sandbox_base(plan.pod, plan.sandbox_attempt, logs, plan.cgroup_parent))
    # Containers find it in their environment.
    request.sandbox_config.hostname = hostname
    context = request.sandbox_config.linux.security_context
    context.privileged = plan.security.privileged
    _set_namespaces(context.namespace_options, plan.namespaces)
    config, process = request.config, plan.process
    config.metadata.name, config.metadata.attempt = plan.name, plan.attempt
    config.image.image, config.image.user_specified_image = image.id, plan.image
    config.command.extend(process.command)
    config.args.extend(process.args)
    config.working_dir = process.working_dir
    config.envs.extend(common.KeyValue(key=name, value=value.encode()) for name, value in process.env)
    config.mounts.extend(_mount(mount) for mount in plan.mounts)
    config.devices.extend(_device(device) for device in plan.devices)
    config.cdi_devices.extend(cri.CDIDevice(name=name) for name in plan.cdi_devices)
    config.labels.update({**own, **container_labels(plan)})
    config.labels[STOP_SIGNAL] = signal_name(plan.stop_signal or image.stop_signal)
    if plan.stop_signal:
        # That the pod chose it, and not its image, which the engine knows of.
        config.annotations[STOP_SIGNAL] = plan.stop_signal
    config.log_path = str(log_path(logs, plan.pod, plan.name, plan.attempt).relative_to(pod_logs(logs, plan.pod)))
    config.stdin, config.stdin_once, config.tty = process.stdin, process.stdin_once, process.tty
    config.linux.resources.CopyFrom(resources(plan.limits))
    config.linux.resources.oom_score_adj = plan.limits.oom_score_adj
    config.linux.resources.cpuset_cpus = plan.limits.cpuset
    _set_security(config.linux.security_context, plan.security)
    _set_namespaces(config.linux.security_context.namespace_options, plan.namespaces)
    return request


def resources(wanted: Limits) -> common.LinuxContainerResources:
    """What a container may use, as far as that may change while it runs. The engine counts swap with the memory, and
    is told of it alone where that has no limit, by version 2's own name."""
    made = common.LinuxContainerResources(cpu_shares=wanted.cpu_shares)
    if wanted.cpu_quota_micros:
        made.cpu_period, made.cpu_quota = PERIOD_MICROS, wanted.cpu_quota_micros
    if wanted.memory_bytes:
        made.memory_limit_in_bytes = wanted.memory_bytes
        made.memory_swap_limit_in_bytes = wanted.memory_bytes + wanted.swap_bytes
    elif wanted.swap_bytes:
        made.unified["memory.swap.max"] = str(wanted.swap_bytes)
    return made


def changed_resources(wanted: Limits) -> common.LinuxContainerResources:
    """The same for one that runs: an engine leaves alone what is not said."""
    made = resources(wanted)
    made.cpu_period, made.cpu_quota = PERIOD_MICROS, made.cpu_quota or UNLIMITED
    return made


def _set_namespaces(options: common.NamespaceOption, wanted: Namespaces) -> None:
    options.network = NODE if wanted.host_network else POD
    options.ipc = NODE if wanted.host_ipc else POD
    options.pid = NODE if wanted.host_pid else POD if wanted.share_process else CONTAINER
    if wanted.process_of and options.pid == CONTAINER:
        options.pid, options.target_id = TARGET, wanted.process_of


def _set_security(context: cri.LinuxContainerSecurityContext, wanted: Security) -> None:
    context.privileged, context.no_new_privs, context.readonly_rootfs = wanted.privileged, wanted.no_new_privileges, wanted.read_only_root
    context.capabilities.add_capabilities.extend(wanted.cap_add)
    context.capabilities.drop_capabilities.extend(wanted.cap_drop)
    context.supplemental_groups.extend(wanted.supplemental_groups)
    context.supplemental_groups_policy = common.Strict if wanted.strict_groups else common.Merge
    _set_profiles(context, wanted)
    if not (wanted.unmasked_proc or wanted.privileged):
        # Where none are named, none are hidden.
        context.masked_paths.extend(MASKED)
        context.readonly_paths.extend(READ_ONLY)
    user, _, group = wanted.user.partition(":")
    if user.isdecimal():
        context.run_as_user.value = int(user)
    else:
        context.run_as_username = user
    if group:
        context.run_as_group.value = int(group)


def _set_profiles(context: cri.LinuxContainerSecurityContext, wanted: Security) -> None:
    kinds = common.SecurityProfile
    context.seccomp.profile_type = kinds.Unconfined if wanted.unconfined_seccomp else kinds.RuntimeDefault
    if wanted.seccomp is not None:
        context.seccomp.profile_type, context.seccomp.localhost_ref = kinds.Localhost, wanted.seccomp.path
    if wanted.app_armor == "unconfined":
        context.apparmor.profile_type = kinds.Unconfined
    elif wanted.app_armor:
        context.apparmor.profile_type, context.apparmor.localhost_ref = kinds.Localhost, wanted.app_armor
    for part in wanted.selinux:
        name, _, value = part.partition(":")
        setattr(context.selinux_options, name, value)


def _device(device: Device) -> cri.Device:
    return cri.Device(container_path=device.target, host_path=device.source, permissions=device.access)


def _mount(mount: Mount) -> cri.Mount:
    return cri.Mount(
        container_path=mount.target,
        host_path=mount.source,
        readonly=mount.read_only,
        propagation=PROPAGATIONS.get(mount.propagation, cri.PROPAGATION_PRIVATE),
    )
