"""Pods that are not the system's, and their namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from services.apiserver.admission.pod_security.baseline import CAPABILITIES
from services.apiserver.admission.pod_security.levels import PREFIX
from services.command.checks.check import Check, Weight
from services.command.checks.facts import SYSTEM, Facts, shown

ENFORCE = f"{PREFIX}enforce"


def _containers(pod: Any) -> list[Any]:
    spec = pod["spec"]
    return [*(spec.get("initContainers") or ()), *spec["containers"], *(spec.get("ephemeralContainers") or ())]


def _of_pods(words: str, judge: Callable[[Any], bool]) -> Callable[[Facts], Sequence[str]]:
    return lambda facts: [f"{shown(pod)} {words}" for pod in facts.pods if judge(pod["spec"])]


def _of_containers(words: str, judge: Callable[[Any, Any], bool]) -> Callable[[Facts], Sequence[str]]:
    """``judge`` is given the container and its pod's spec."""
    return lambda facts: [
        f"{shown(pod)}: container {container['name']} {words}"
        for pod in facts.pods
        for container in _containers(pod)
        if judge(container, pod["spec"])
    ]


def _security(holder: Any) -> Any:
    return holder.get("securityContext") or {}


def _is_privileged(container: Any, _: Any) -> bool:
    return bool(_security(container).get("privileged"))


def _may_escalate(container: Any, _: Any) -> bool:
    return _security(container).get("allowPrivilegeEscalation") is not False


def _may_be_root(container: Any, spec: Any) -> bool:
    own, shared = _security(container), _security(spec)
    user = own.get("runAsUser", shared.get("runAsUser"))
    return user == 0 or (not user and own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True)


def _has_capabilities(container: Any, _: Any) -> bool:
    added = (_security(container).get("capabilities") or {}).get("add") or ()
    return any(name.removeprefix("CAP_") not in CAPABILITIES for name in added)


def _has_secret_variables(container: Any, _: Any) -> bool:
    variables = any("secretKeyRef" in (variable.get("valueFrom") or {}) for variable in container.get("env") or ())
    return variables or any("secretRef" in source for source in container.get("envFrom") or ())


def _is_unnamed(container: Any, _: Any) -> bool:
    image = str(container.get("image", ""))
    if "@sha256:" in image:
        return False
    _, colon, tag = image.rpartition("/")[2].partition(":")
    return not colon or tag == "latest"


def _has_no_limits(container: Any, _: Any) -> bool:
    return "memory" not in ((container.get("resources") or {}).get("limits") or {})


def _shares(spec: Any) -> bool:
    return bool(spec.get("hostPID") or spec.get("hostIPC") or spec.get("hostNetwork"))


def _mounts_host(spec: Any) -> bool:
    return any("hostPath" in volume for volume in spec.get("volumes") or ())


def _populated(facts: Facts) -> Iterator[Any]:
    """Namespaces that somebody's pods are in."""
    used = {pod["metadata"]["namespace"] for pod in facts.pods}
    return (namespace for namespace in facts.namespaces if namespace["metadata"]["name"] in used - SYSTEM)


def _unguarded(facts: Facts) -> Sequence[str]:
    return [
        f"{namespace['metadata']['name']} has pods, and no label {ENFORCE}"
        for namespace in _populated(facts)
        if namespace["metadata"].get("labels", {}).get(ENFORCE) not in ("baseline", "restricted")
    ]


def _open(facts: Facts) -> Sequence[str]:
    guarded = {policy["metadata"]["namespace"] for policy in facts.policies}
    names = (namespace["metadata"]["name"] for namespace in _populated(facts))
    return [f"{name} has pods, and no NetworkPolicy" for name in names if name not in guarded]


CHECKS = (
    Check(
        "pods-privileged",
        "no container is privileged",
        "It owns its node, and with that all pods of the node.",
        "Leave `privileged` out; add the one capability that is needed.",
        _of_containers("is privileged", _is_privileged),
        cis=("5.2.2",),
    ),
    Check(
        "pods-host-namespaces",
        "no pod shares processes, memory or network with its node",
        "It sees the processes of others, or listens to what passes by.",
        "Leave hostPID, hostIPC and hostNetwork out.",
        _of_pods("shares a namespace of its node", _shares),
        cis=("5.2.3", "5.2.4", "5.2.5"),
    ),
    Check(
        "pods-host-path",
        "no pod mounts a folder of its node",
        "What it can write there the node may run.",
        "Use a PersistentVolumeClaim, a ConfigMap or an emptyDir.",
        _of_pods("mounts a hostPath", _mounts_host),
        cis=("5.2.12",),
    ),
    Check(
        "pods-capabilities",
        "no container has capabilities beyond the ordinary ones",
        "Some of them are as good as root on the node.",
        "Drop ALL, and add what the program cannot do without.",
        _of_containers("adds capabilities", _has_capabilities),
        cis=("5.2.8", "5.2.9", "5.2.10"),
    ),
    Check(
        "pods-escalation",
        "no program of a container gains rights that its container has not",
        "A file with the setuid bit would make it root.",
        "Say allowPrivilegeEscalation: false.",
        _of_containers("may gain rights", _may_escalate),
        Weight.ADVICE,
        cis=("5.2.6",),
    ),
    Check(
        "pods-root",
        "no container runs as root",
        "Who breaks out of it is root on the node.",
        "Say runAsNonRoot: true, and a runAsUser where the image has none.",
        _of_containers("may run as root", _may_be_root),
        Weight.ADVICE,
        cis=("5.2.7",),
    ),
    Check(
        "pods-secret-variables",
        "no Secret is a variable of the environment",
        "Variables are in crash reports, and every child has them.",
        "Mount the Secret as a volume.",
        _of_containers("has a Secret among its variables", _has_secret_variables),
        Weight.ADVICE,
        cis=("5.4.1",),
    ),
    Check(
        "pods-images",
        "images are named by a version",
        "What `latest` is changes under a pod that is made anew.",
        "Name a tag, or better a digest.",
        _of_containers("has an image without a version", _is_unnamed),
        Weight.ADVICE,
    ),
    Check(
        "pods-limits",
        "containers have a limit of memory",
        "One that has none takes its neighbours'.",
        "Say resources.limits.memory, or make a LimitRange.",
        _of_containers("has no limit of memory", _has_no_limits),
        Weight.ADVICE,
    ),
    Check(
        "namespaces-pod-security",
        "namespaces with pods say which pods they take",
        "Else whoever may make a pod has the node.",
        f"kubectl label namespace NAME {ENFORCE}=baseline (or restricted).",
        _unguarded,
        Weight.ADVICE,
        cis=("5.2.1",),
    ),
    Check(
        "namespaces-network-policy",
        "namespaces with pods say who may reach them",
        "Without a NetworkPolicy every pod of the cluster may.",
        "Begin with a NetworkPolicy of an empty podSelector, which shuts all out, and allow what is needed.",
        _open,
        Weight.ADVICE,
        cis=("5.3.2",),
    ),
)
