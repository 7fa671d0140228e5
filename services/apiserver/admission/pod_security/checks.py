"""All checks of the standards, in the order in which they are told, each from the version on in which it came or changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

from services.apiserver.admission.pod_security import baseline, restricted
from services.apiserver.admission.pod_security.levels import BASELINE, PRIVILEGED, RESTRICTED, Standard
from services.apiserver.admission.pod_security.subject import Subject

# What is wrong with a pod, in words; empty when nothing is.
Judge = Callable[[Subject], str]


@dataclass(frozen=True, slots=True)
class Check:
    """``reason`` is the short word for it, which may depend on the pod. ``versions`` are its forms by the minor version that each is from,
    in order. One of the level restricted is asked instead of that of baseline which it ``replaces``, from where it begins itself."""

    name: str
    reason: str | Judge
    level: str
    versions: tuple[tuple[int, Judge], ...]
    replaces: str = ""

    def judge(self, minor: float) -> Judge | None:
        """Its form as of a version; None where it had not come yet."""
        return next((judge for since, judge in reversed(self.versions) if since <= minor), None)


_sysctls = tuple(
    (since, partial(baseline.sysctls, allowed))
    for since, allowed in (
        (0, baseline.SYSCTLS),
        (27, baseline.SYSCTLS_27),
        (29, baseline.SYSCTLS_29),
        (32, baseline.SYSCTLS_32),
        (37, baseline.SYSCTLS_37),
    )
)
CHECKS: tuple[Check, ...] = (
    Check("appArmorProfile", baseline.app_armor_reason, BASELINE, ((0, baseline.app_armor),)),
    Check("capabilities_baseline", "non-default capabilities", BASELINE, ((0, baseline.capabilities),)),
    Check("hostNamespaces", "host namespaces", BASELINE, ((0, baseline.host_namespaces),)),
    Check("hostPathVolumes", "hostPath volumes", BASELINE, ((0, baseline.host_paths),)),
    Check("hostPorts", "hostPort", BASELINE, ((0, baseline.host_ports),)),
    Check("hostProbesAndHostLifecycle", "probe or lifecycle host", BASELINE, ((34, baseline.probe_hosts),)),
    Check("privileged", "privileged", BASELINE, ((0, baseline.privileged),)),
    Check("procMount", "procMount", BASELINE, ((0, baseline.proc_mount), (35, baseline.proc_mount_35))),
    Check("seLinuxOptions", "seLinuxOptions", BASELINE, ((0, baseline.se_linux), (31, baseline.se_linux_31))),
    Check("seccompProfile_baseline", "seccompProfile", BASELINE, ((0, baseline.seccomp_annotations), (19, baseline.seccomp))),
    Check("sysctls", "forbidden sysctls", BASELINE, _sysctls),
    Check("windowsHostProcess", "hostProcess", BASELINE, ((0, baseline.windows_host_process),)),
    Check(
        "allowPrivilegeEscalation",
        "allowPrivilegeEscalation != false",
        RESTRICTED,
        ((8, restricted.escalation), (25, restricted.escalation_25)),
    ),
    Check(
        "capabilities_restricted",
        "unrestricted capabilities",
        RESTRICTED,
        ((22, restricted.capabilities), (25, restricted.capabilities_25)),
        replaces="capabilities_baseline",
    ),
    Check("procMount_restricted", "procMount", RESTRICTED, ((35, baseline.proc_mount),), replaces="procMount"),
    Check("restrictedVolumes", "restricted volume types", RESTRICTED, ((0, restricted.volumes),), replaces="hostPathVolumes"),
    Check("runAsNonRoot", "runAsNonRoot != true", RESTRICTED, ((0, restricted.non_root), (35, restricted.non_root_35))),
    Check("runAsUser", "runAsUser=0", RESTRICTED, ((23, restricted.user), (35, restricted.user_35))),
    Check(
        "seccompProfile_restricted",
        "seccompProfile",
        RESTRICTED,
        ((19, restricted.seccomp_said), (25, restricted.seccomp_said_25)),
        replaces="seccompProfile_baseline",
    ),
)


@dataclass(frozen=True, slots=True)
class Violations:
    """What a pod does against a standard: reasons, each with what is meant by it."""

    found: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.found)

    @property
    def reasons(self) -> str:
        return ", ".join(reason for reason, _ in self.found)

    @property
    def details(self) -> str:
        return ", ".join(f"{reason} ({detail})" for reason, detail in self.found)


def violations(standard: Standard, pod: Subject) -> Violations:
    found = ((reason, detail) for reason, judge in _judges(standard) if (detail := judge(pod)))
    return Violations(tuple((reason if isinstance(reason, str) else reason(pod), detail) for reason, detail in found))


@lru_cache(maxsize=256)
def _judges(standard: Standard) -> tuple[tuple[str | Judge, Judge], ...]:
    return tuple((check.reason, judge) for check, judge in _chosen(standard))


def _chosen(standard: Standard) -> Iterator[tuple[Check, Judge]]:
    if standard.level == PRIVILEGED:
        return
    there = [(check, judge) for check in CHECKS if (judge := check.judge(standard.minor)) is not None]
    replaced = {check.replaces for check, _ in there} if standard.level == RESTRICTED else set()
    for check, judge in there:
        if check.level == BASELINE and check.name not in replaced:
            yield check, judge
    if standard.level == RESTRICTED:
        yield from ((check, judge) for check, judge in there if check.level == RESTRICTED)
