"""As whom a container runs and what it may, from its security context and its pod's. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.inputs import ConfigError
from services.kubelet.runtime.plan import Security
from services.kubelet.runtime.port import Image


def security(spec: core.Container, pod_context: core.PodSecurityContext, image: Image) -> Security:
    """The container's settings before the pod's; raises ConfigError where the image would break ``runAsNonRoot``."""
    context = spec.security_context
    return Security(
        user=_user(spec, pod_context, image),
        supplemental_groups=_groups(pod_context),
        privileged=context.privileged,
        cap_add=tuple(context.capabilities.add),
        cap_drop=tuple(context.capabilities.drop),
        no_new_privileges=context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation,
        unconfined_seccomp=(context.seccomp_profile.type or pod_context.seccomp_profile.type) == "Unconfined",
        read_only_root=context.read_only_root_filesystem,
    )


def _user(spec: core.Container, pod_context: core.PodSecurityContext, image: Image) -> str:
    context = spec.security_context
    user = _first("run_as_user", context, pod_context)
    group = _first("run_as_group", context, pod_context)
    non_root = context.run_as_non_root if context.HasField("run_as_non_root") else pod_context.run_as_non_root
    if non_root:
        _refuse_root(user, image)
    if user is None and group is None:
        return ""
    return f"{user if user is not None else image.user.partition(':')[0] or 0}" + (f":{group}" if group is not None else "")


def _first(name: str, context: core.SecurityContext, pod_context: core.PodSecurityContext) -> int | None:
    """The container's setting, else the pod's, else None."""
    owner = context if context.HasField(name) else pod_context
    return int(getattr(owner, name)) if owner.HasField(name) else None


def _refuse_root(user: int | None, image: Image) -> None:
    name = image.user.partition(":")[0]
    if user == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if user is None and (name in ("", "root") or (_is_number(name) and int(name) == 0)):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    if user is None and not _is_number(name):
        raise ConfigError(f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root")


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _groups(pod_context: core.PodSecurityContext) -> tuple[int, ...]:
    own = (pod_context.fs_group,) if pod_context.HasField("fs_group") else ()
    return (*pod_context.supplemental_groups, *own)
