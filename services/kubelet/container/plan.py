"""From a pod's spec to what the runtime is asked for: a container's configuration. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from services.kubelet.container.environment import ConfigError, expand
from services.kubelet.pod.spec import container_hash, ref_of
from services.kubelet.pod.volumes import Content, HostDirectory, PodDirectory
from services.kubelet.runtime.port import ContainerConfig, Image, Mount, Sandbox

MIN_SHARES = 2
SHARES_PER_CPU = 1024
QUOTA_PERIOD_MICROS = 100_000
MIN_QUOTA_MICROS = 1000
DEFAULT_TERMINATION_PATH = "/dev/termination-log"


def container_config(
    pod: core.Pod,
    spec: core.Container,
    attempt: int,
    sandbox: Sandbox,
    env: Mapping[str, str],
    image: Image,
    volumes: Mapping[str, Content],
    directory: PodDirectory,
) -> ContainerConfig:
    """One container; raises ConfigError in Kubernetes' words."""
    resources, context, pod_context = spec.resources, spec.security_context, pod.spec.security_context
    limits = {name: resources.limits[name].string for name in resources.limits}
    requests = {name: resources.requests[name].string for name in resources.requests}
    return ContainerConfig(
        pod=ref_of(pod),
        sandbox_id=sandbox.id,
        name=spec.name,
        attempt=attempt,
        image=spec.image,
        spec_hash=container_hash(spec),
        sandbox_attempt=sandbox.attempt,
        command=tuple(expand(word, env) for word in spec.command),
        args=tuple(expand(word, env) for word in spec.args),
        env=tuple(env.items()),
        working_dir=spec.working_dir,
        mounts=_mounts(pod, spec, attempt, env, volumes, directory),
        user=_user(spec, pod_context, image),
        supplemental_groups=_groups(pod_context),
        cpu_shares=_shares(requests.get("cpu") or limits.get("cpu") or "0"),
        cpu_quota_micros=_quota(limits["cpu"]) if "cpu" in limits else 0,
        memory_bytes=quantity.value(limits["memory"]) if "memory" in limits else 0,
        privileged=context.privileged,
        cap_add=tuple(context.capabilities.add),
        cap_drop=tuple(context.capabilities.drop),
        no_new_privileges=context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation,
        unconfined_seccomp=(context.seccomp_profile.type or pod_context.seccomp_profile.type) == "Unconfined",
        read_only_root=context.read_only_root_filesystem,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        share_process_namespace=pod.spec.share_process_namespace,
        host_pid=pod.spec.host_pid,
        host_network=pod.spec.host_network,
        host_ipc=pod.spec.host_ipc,
    )


def _shares(cpu: str) -> int:
    return max(quantity.milli(cpu) * SHARES_PER_CPU // 1000, MIN_SHARES)


def _quota(cpu: str) -> int:
    return max(quantity.milli(cpu) * QUOTA_PERIOD_MICROS // 1000, MIN_QUOTA_MICROS)


def _user(spec: core.Container, pod_context: core.PodSecurityContext, image: Image) -> str:
    context = spec.security_context
    user = _first("run_as_user", context, pod_context)
    group = _first("run_as_group", context, pod_context)
    non_root = context.run_as_non_root if context.HasField("run_as_non_root") else pod_context.run_as_non_root
    if non_root:
        _refuse_root(spec, user, image)
    if user is None and group is None:
        return ""
    return f"{user if user is not None else image.user.partition(':')[0] or 0}" + (f":{group}" if group is not None else "")


def _first(name: str, context: core.SecurityContext, pod_context: core.PodSecurityContext) -> int | None:
    """The container's setting, else the pod's, else None."""
    owner = context if context.HasField(name) else pod_context
    return int(getattr(owner, name)) if owner.HasField(name) else None


def _refuse_root(spec: core.Container, user: int | None, image: Image) -> None:
    name = image.user.partition(":")[0]
    if user == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if user is None and name in ("", "0", "root"):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    if user is None and not name.isdigit():
        raise ConfigError(f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root")


def _groups(pod_context: core.PodSecurityContext) -> tuple[int, ...]:
    own = (pod_context.fs_group,) if pod_context.HasField("fs_group") else ()
    return (*pod_context.supplemental_groups, *own)


def _mounts(
    pod: core.Pod, spec: core.Container, attempt: int, env: Mapping[str, str], volumes: Mapping[str, Content], directory: PodDirectory
) -> tuple[Mount, ...]:
    mounts = []
    for wanted in spec.volume_mounts:
        if wanted.name not in volumes:
            raise ConfigError(f'volume "{wanted.name}" of volumeMounts is not among the pod\'s volumes')
        content = volumes[wanted.name]
        source = PurePosixPath(content.path) if isinstance(content, HostDirectory) else PurePosixPath(directory.volume_path(wanted.name))
        sub_path = expand(wanted.sub_path_expr, env) if wanted.sub_path_expr else wanted.sub_path
        if sub_path.startswith("/") or ".." in sub_path.split("/"):
            raise ConfigError(f"subPath {sub_path!r} of volume {wanted.name} must be relative and may not contain '..'")
        propagation = {"HostToContainer": "rslave", "Bidirectional": "rshared"}.get(wanted.mount_propagation, "")
        target = wanted.mount_path if wanted.mount_path.startswith("/") else f"/{wanted.mount_path}"
        mounts.append(Mount(str(source / sub_path), target, wanted.read_only, propagation, str(source) if sub_path else ""))
    targets = {mount.target for mount in mounts}
    path = spec.termination_message_path or DEFAULT_TERMINATION_PATH
    if path not in targets:
        mounts.append(Mount(str(directory.termination_log(spec.name, attempt)), path))
    if "/etc/hosts" not in targets:
        mounts.append(Mount(str(directory.hosts), "/etc/hosts"))
    if "/etc/resolv.conf" not in targets:
        mounts.append(Mount(str(directory.resolv_conf), "/etc/resolv.conf"))
    return tuple(mounts)
