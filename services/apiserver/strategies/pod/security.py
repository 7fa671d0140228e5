"""Rules about security contexts."""

from __future__ import annotations

from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import GoSyntax, Path, check_choice, invalid, range_error, required

LARGEST_ID = 2**31 - 1
PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")


def validate_container_security(context: core.SecurityContext, path: Path) -> list[Cause]:
    causes = _ids(context, path) + _profiles(context, path)
    causes += check_choice(path.child("procMount"), context.proc_mount, ("Default", "Unmasked"), optional=True)
    if context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation:
        shown_context = GoSyntax("core.SecurityContext{…}")
        if context.privileged:
            causes.append(invalid(path, shown_context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
        if "CAP_SYS_ADMIN" in context.capabilities.add:
            sentence = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            causes.append(invalid(path, shown_context, sentence))
    return causes


def validate_pod_security(spec: core.PodSpec, path: Path) -> list[Cause]:
    context, here = spec.security_context, path.child("securityContext")
    causes = _ids(context, here) + _profiles(context, here)
    if context.HasField("fs_group"):
        causes += _id(context.fs_group, here.child("fsGroup"))
    for index, group in enumerate(context.supplemental_groups):
        causes += _id(group, here.child("supplementalGroups").index(index))
    causes += check_choice(here.child("fsGroupChangePolicy"), context.fs_group_change_policy, ("Always", "OnRootMismatch"), optional=True)
    names = [sysctl.name for sysctl in context.sysctls]
    for index, name in enumerate(names):
        if not name:
            causes.append(required(here.child("sysctls").index(index).child("name")))
    if spec.host_pid and spec.share_process_namespace:
        causes.append(invalid(path.child("shareProcessNamespace"), True, "ShareProcessNamespace and HostPID cannot both be enabled"))
    return causes


def _ids(context: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for field, name in (("run_as_user", "runAsUser"), ("run_as_group", "runAsGroup")):
        if context.HasField(field):
            causes += _id(getattr(context, field), path.child(name))
    return causes


def _id(value: int, path: Path) -> list[Cause]:
    return [] if 0 <= value <= LARGEST_ID else [invalid(path, value, range_error(0, LARGEST_ID))]


def _profiles(context: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for field, name, word in (("seccomp_profile", "seccompProfile", "seccomp"), ("app_armor_profile", "appArmorProfile", "AppArmor")):
        if not context.HasField(field):
            continue
        profile, here = getattr(context, field), path.child(name)
        causes += check_choice(here.child("type"), profile.type, PROFILES)
        if profile.type == "Localhost" and not profile.HasField("localhost_profile"):
            causes.append(required(here.child("localhostProfile"), f"must be set when {word} type is Localhost"))
        if profile.type != "Localhost" and profile.HasField("localhost_profile"):
            sentence = f"can only be set when {word} type is Localhost"
            causes.append(invalid(here.child("localhostProfile"), profile.localhost_profile, sentence))
    return causes
