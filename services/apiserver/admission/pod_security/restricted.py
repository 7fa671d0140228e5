"""The further checks of the level ``restricted``: what a hardened pod says of itself. Each answers what is wrong, or nothing. Pure."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from services.apiserver.admission.pod_security.baseline import CONFINED, seccomp
from services.apiserver.admission.pod_security.subject import Subject, containers, plural, quoted, setters

ALL, ADDABLE = "ALL", frozenset({"NET_BIND_SERVICE"})
VOLUMES = frozenset(
    {"config_map", "csi", "downward_api", "empty_dir", "ephemeral", "image", "persistent_volume_claim", "projected", "secret"}
)


def escalation(pod: Subject) -> str:
    def is_bad(container: core.Container) -> bool:
        context = container.security_context
        return not context.HasField("allow_privilege_escalation") or context.allow_privilege_escalation

    bad = pod.those(is_bad)
    return f"{containers(bad)} must set securityContext.allowPrivilegeEscalation=false" if bad else ""


def escalation_25(pod: Subject) -> str:
    return "" if pod.is_windows else escalation(pod)


def capabilities(pod: Subject) -> str:
    def added(container: core.Container) -> set[str]:
        return set(container.security_context.capabilities.add) - ADDABLE

    keeping = pod.those(lambda container: ALL not in container.security_context.capabilities.drop)
    adding = pod.those(lambda container: bool(added(container)))
    told = [f'{containers(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        names = sorted(set().union(*map(added, pod.containers)))
        told.append(f"{containers(adding)} must not include {quoted(names)} in securityContext.capabilities.add")
    return "; ".join(told)


def capabilities_25(pod: Subject) -> str:
    return "" if pod.is_windows else capabilities(pod)


def volumes(pod: Subject) -> str:
    bad = {
        volume.name: kind
        for volume in pod.spec.volumes
        if (kind := next((field.json_name for field, _ in volume.volume_source.ListFields() if field.name not in VOLUMES), ""))
    }
    names, kinds = sorted(bad), sorted(set(bad.values()))
    what = f"restricted volume {plural('type', 'types', kinds)} {quoted(kinds)}"
    return f"{plural('volume', 'volumes', names)} {quoted(names)} {plural('uses', 'use', names)} {what}" if bad else ""


def non_root(pod: Subject) -> str:
    """Whoever says no outdoes whoever says nothing."""
    context = pod.spec.security_context
    said = context.HasField("run_as_non_root")

    def is_silent(container: core.Container) -> bool:
        return not container.security_context.HasField("run_as_non_root")

    denying = pod.those(lambda container: not is_silent(container) and not container.security_context.run_as_non_root)
    if who := setters(said and not context.run_as_non_root, denying):
        return f"{who} must not set securityContext.runAsNonRoot=false"
    silent = [] if said else pod.those(is_silent)
    return f"pod or {containers(silent)} must set securityContext.runAsNonRoot=true" if silent else ""


def non_root_35(pod: Subject) -> str:
    return "" if pod.has_own_users else non_root(pod)


def user(pod: Subject) -> str:
    def is_root(context: core.PodSecurityContext | core.SecurityContext) -> bool:
        return context.HasField("run_as_user") and not context.run_as_user

    who = setters(is_root(pod.spec.security_context), pod.those(lambda container: is_root(container.security_context)))
    return f"{who} must not set runAsUser=0" if who else ""


def user_35(pod: Subject) -> str:
    return "" if pod.has_own_users else user(pod)


def seccomp_said(pod: Subject) -> str:
    """Not only nothing bad: something good."""
    if wrong := seccomp(pod):
        return wrong
    if pod.spec.security_context.seccomp_profile.type in CONFINED:
        return ""
    silent = pod.those(lambda container: not container.security_context.HasField("seccomp_profile"))
    words = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return f"pod or {containers(silent)} {words}" if silent else ""


def seccomp_said_25(pod: Subject) -> str:
    return "" if pod.is_windows else seccomp_said(pod)
