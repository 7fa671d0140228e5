"""Rules about security contexts."""

from __future__ import annotations

import re
from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    CUT,
    Path,
    check_choice,
    check_given_choice,
    duplicate,
    forbidden,
    invalid,
    range_error,
    required,
    too_long,
)
from knarr.objects.sysctls import IPC, NETWORK, dotted, namespace_of
from services.apiserver.strategies.volumes import check_relative

LARGEST_ID = 2**31 - 1
POLICIES = (
    ("supplemental_groups_policy", "supplementalGroupsPolicy", ("Merge", "Strict")),
    ("fs_group_change_policy", "fsGroupChangePolicy", ("Always", "OnRootMismatch")),
    ("se_linux_change_policy", "seLinuxChangePolicy", ("MountOption", "Recursive")),
)
LONGEST_SYSCTL, LONGEST_PROFILE = 253, 4095
SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*([a-z0-9][-_a-z0-9]*)?[a-z0-9]")
PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")


def validate_container_security(context: core.SecurityContext, path: Path, *, host_users: bool = True) -> list[Cause]:
    """``host_users``: the pod has those of its node."""
    causes = _ids(context, path) + _profiles(context, path)
    causes += check_given_choice(path.child("procMount"), context, "proc_mount", ("Default", "Unmasked"))
    if context.proc_mount == "Unmasked" and host_users:
        causes.append(invalid(path.child("procMount"), context.proc_mount, "`hostUsers` must be false to use `Unmasked`"))
    if context.HasField("allow_privilege_escalation") and not context.allow_privilege_escalation:
        shown_context = CUT
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
        causes += validate_id(context.fs_group, here.child("fsGroup"))
    for index, group in enumerate(context.supplemental_groups):
        causes += validate_id(group, here.child("supplementalGroups").index(index))
    for field, name, choices in POLICIES:
        causes += check_given_choice(here.child(name), context, field, choices)
    causes += _sysctls(spec, here.child("sysctls"))
    causes += _own_users(spec, path)
    if spec.host_pid and spec.share_process_namespace:
        causes.append(invalid(path.child("shareProcessNamespace"), True, "ShareProcessNamespace and HostPID cannot both be enabled"))
    return causes


def _own_users(spec: core.PodSpec, path: Path) -> list[Cause]:
    """Whoever has users of its own has no namespace of the node's, and no raw device."""
    if not spec.HasField("host_users") or spec.host_users:
        return []
    words = "when `hostUsers` is false"
    shared = (("host_network", "hostNetwork"), ("host_pid", "hostPID"), ("host_ipc", "hostIPC"))
    causes = [forbidden(path.child(name), words) for field, name in shared if getattr(spec, field)]
    for field, name in (("containers", "containers"), ("init_containers", "initContainers")):
        for index, container in enumerate(getattr(spec, field)):
            if container.volume_devices:
                causes.append(forbidden(path.child(name).index(index).child("volumeDevices"), words))
    return causes


def _sysctls(spec: core.PodSpec, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    shared = {IPC: ("hostIPC", spec.host_ipc), NETWORK: ("hostNetwork", spec.host_network)}
    for index, sysctl in enumerate(spec.security_context.sysctls):
        here = path.index(index).child("name")
        if not sysctl.name:
            causes.append(required(here))
        elif len(sysctl.name) > LONGEST_SYSCTL or not SYSCTL.fullmatch(sysctl.name):
            sentence = f"must have at most {LONGEST_SYSCTL} characters and match regex ^{SYSCTL.pattern}$"
            causes.append(invalid(here, sysctl.name, sentence))
        elif sysctl.name in seen:
            causes.append(duplicate(here, sysctl.name))
        seen.add(sysctl.name)
        field, is_shared = shared.get(namespace_of(dotted(sysctl.name)), ("", False))
        if is_shared:
            causes.append(invalid(here, sysctl.name, f"may not be set with '{field}' enabled"))
    return causes


def _ids(context: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for field, name in (("run_as_user", "runAsUser"), ("run_as_group", "runAsGroup")):
        if context.HasField(field):
            causes += validate_id(getattr(context, field), path.child(name))
    return causes


def validate_id(value: int, path: Path) -> list[Cause]:
    """Of a user or a group."""
    return [] if 0 <= value <= LARGEST_ID else [invalid(path, value, range_error(0, LARGEST_ID))]


def _profiles(context: Any, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for field, name, word in (("seccomp_profile", "seccompProfile", "seccomp"), ("app_armor_profile", "appArmorProfile", "AppArmor")):
        if not context.HasField(field):
            continue
        profile, here = getattr(context, field), path.child(name)
        if not profile.type:
            causes.append(required(here.child("type"), f"type is required when {name} is set"))
        causes += check_choice(here.child("type"), profile.type, PROFILES, optional=True)
        if profile.type == "Localhost" and not profile.HasField("localhost_profile"):
            causes.append(required(here.child("localhostProfile"), f"must be set when {word} type is Localhost"))
        if profile.type != "Localhost" and profile.HasField("localhost_profile"):
            sentence = f"can only be set when {word} type is Localhost"
            causes.append(invalid(here.child("localhostProfile"), profile.localhost_profile, sentence))
        elif profile.HasField("localhost_profile"):
            rule = check_relative if word == "seccomp" else _app_armor_name
            causes += rule(profile.localhost_profile, here.child("localhostProfile"))
    return causes


def _app_armor_name(name: str, path: Path) -> list[Cause]:
    if name != name.strip():
        causes = [invalid(path, name, "must not be padded with whitespace")]
    else:
        causes = [] if name else [required(path, "must be set when AppArmor type is Localhost")]
    return causes + ([too_long(path, LONGEST_PROFILE)] if len(name.encode()) > LONGEST_PROFILE else [])
