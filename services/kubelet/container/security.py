"""As whom a container runs and what it may, from its security context and its pod's. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.container.identity import STRICT, chosen, identity, is_number, own_groups
from services.kubelet.container.inputs import ConfigError, SecurityFacts
from services.kubelet.container.profiles import LOCALHOST, UNCONFINED, NoProfile, app_armor_of, seccomp_of
from services.kubelet.runtime.plan import Identity, Security
from services.kubelet.runtime.port import Image


@dataclass(frozen=True, slots=True)
class Whom:
    """``user[:group]``, empty for the image's, and the groups beside; ``identity`` where the numbers are known."""

    user: str
    groups: tuple[int, ...]
    identity: Identity | None = None


def security(spec: core.Container, pod_context: core.PodSecurityContext, image: Image, facts: SecurityFacts) -> Security:
    """The container's settings before the pod's; raises ConfigError where the image would break ``runAsNonRoot``, and NoProfile
    for a profile of AppArmor that can be none."""
    context = spec.security_context
    whom = _whom(context, pod_context, image, facts)
    return Security(
        user=whom.user,
        supplemental_groups=whom.groups,
        privileged=context.privileged,
        cap_add=tuple(context.capabilities.add),
        cap_drop=tuple(context.capabilities.drop),
        no_new_privileges=context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation,
        unconfined_seccomp=seccomp_of(context, pod_context).type == UNCONFINED,
        read_only_root=context.read_only_root_filesystem,
        identity=whom.identity,
        strict_groups=pod_context.supplemental_groups_policy == STRICT,
        seccomp=facts.seccomp,
        app_armor=_app_armor(context, pod_context),
        selinux=selinux_of(context, pod_context),
        unmasked_proc=context.proc_mount == "Unmasked",
    )


def selinux_of(context: core.SecurityContext, pod_context: core.PodSecurityContext) -> tuple[str, ...]:
    """The parts of the label that the container asks for, or else its pod."""
    options = (context if context.HasField("se_linux_options") else pod_context).se_linux_options
    return tuple(f"{name}:{getattr(options, name)}" for name in ("user", "role", "type", "level") if getattr(options, name))


def _app_armor(context: core.SecurityContext, pod_context: core.PodSecurityContext) -> str:
    profile = app_armor_of(context, pod_context)
    if profile.type == LOCALHOST:
        if profile.localhost_profile.strip().lower() in ("", UNCONFINED.lower()):
            # Engines would take it for the word that there is to be none, which not everybody may say who may name a profile.
            raise NoProfile(f"apparmor profile not found {profile.localhost_profile}")
        return str(profile.localhost_profile)
    return UNCONFINED.lower() if profile.type == UNCONFINED else ""


def _whom(context: core.SecurityContext, pod_context: core.PodSecurityContext, image: Image, facts: SecurityFacts) -> Whom:
    user, group = chosen("run_as_user", context, pod_context), chosen("run_as_group", context, pod_context)
    if context.run_as_non_root if context.HasField("run_as_non_root") else pod_context.run_as_non_root:
        _refuse_root(user, image)
    known = identity(context, pod_context, image, facts.accounts) if facts.accounts is not None else None
    if known is not None:
        return Whom(f"{known.uid}:{known.gid}", known.groups, known)
    groups = own_groups(pod_context)
    if user is None and group is None:
        return Whom("", groups)
    return Whom(f"{user if user is not None else image.user.partition(':')[0] or 0}" + (f":{group}" if group is not None else ""), groups)


def _refuse_root(user: int | None, image: Image) -> None:
    name = image.user.partition(":")[0]
    if user == 0:
        raise ConfigError("container's runAsUser breaks non-root policy")
    if user is None and (name in ("", "root") or (is_number(name) and int(name) == 0)):
        raise ConfigError("container has runAsNonRoot and image will run as root")
    if user is None and not is_number(name):
        raise ConfigError(f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root")
