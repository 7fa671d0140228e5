"""What is probably a mistake in a pod's spec although it is accepted."""

from __future__ import annotations

from collections.abc import Mapping

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.validation import Path, shown
from services.apiserver.strategies.amounts import is_whole

RENAMED_LABELS = {"beta.kubernetes.io/arch": "kubernetes.io/arch", "beta.kubernetes.io/os": "kubernetes.io/os"}
NO_SELECTOR = "a null labelSelector results in matching no pod"
MAX_TOLD = 4
BYTES = ("ephemeral-storage", "memory")


def pod_spec_warnings(spec: core.PodSpec, path: Path) -> list[str]:
    found = [
        f'{path.child("nodeSelector").key(old)}: deprecated since v1.14; use "{new}" instead'
        for old, new in RENAMED_LABELS.items()
        if old in spec.node_selector
    ]
    found += _spread(spec, path.child("topologySpreadConstraints"))
    found += _host_aliases(spec, path.child("hostAliases"))
    found += _pull_secrets(spec, path.child("imagePullSecrets"))
    found += _fractional(spec.overhead, path.child("overhead"))
    for name, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            here = path.child(name).index(index)
            found += _fractional(container.resources.limits, here.child("resources", "limits"))
            found += _fractional(container.resources.requests, here.child("resources", "requests"))
            found += _hidden_variables(container, here.child("env"))
    found += _repeated_ports(spec, path)
    if spec.termination_grace_period_seconds < 0:
        here = path.child("terminationGracePeriodSeconds")
        found.append(f"{here}: must be >= 0; negative values are invalid and will be treated as 1")
    found += _affinity(spec.affinity, path.child("affinity"))
    return found


def _pull_secrets(spec: core.PodSpec, path: Path) -> list[str]:
    """Charts write an empty name where none is given."""
    found, seen = list[str](), set[str]()
    for index, secret in enumerate(spec.image_pull_secrets):
        if not secret.name or secret.name in seen:
            problem = "duplicate name" if secret.name else "invalid empty name"
            found.append(f"{path.index(index).child('name')}: {problem} {shown(secret.name)}")
        seen.add(secret.name)
    return found


def _spread(spec: core.PodSpec, path: Path) -> list[str]:
    found: list[str] = []
    for index, constraint in enumerate(spec.topology_spread_constraints):
        here = path.index(index)
        if constraint.topology_key in RENAMED_LABELS:
            renamed = f'deprecated since v1.14; use "{RENAMED_LABELS[constraint.topology_key]}" instead'
            found.append(f"{here.child('topologyKey')}: {constraint.topology_key} is {renamed}")
        if not constraint.HasField("label_selector"):
            found.append(f"{here.child('labelSelector')}: {NO_SELECTOR}")
    return found


def _affinity(affinity: core.Affinity, path: Path) -> list[str]:
    """A term without a selector is about no pod."""
    found: list[str] = []
    for name, terms in (("podAffinity", affinity.pod_affinity), ("podAntiAffinity", affinity.pod_anti_affinity)):
        here = path.child(name, "requiredDuringSchedulingIgnoredDuringExecution")
        for index, term in enumerate(terms.required_during_scheduling_ignored_during_execution):
            found += [] if term.HasField("label_selector") else [f"{here.index(index).child('labelSelector')}: {NO_SELECTOR}"]
        here = path.child(name, "preferredDuringSchedulingIgnoredDuringExecution")
        for index, weighted in enumerate(terms.preferred_during_scheduling_ignored_during_execution):
            if not weighted.pod_affinity_term.HasField("label_selector"):
                found.append(f"{here.index(index).child('podAffinityTerm', 'labelSelector')}: {NO_SELECTOR}")
    return found


def _host_aliases(spec: core.PodSpec, path: Path) -> list[str]:
    found, seen = list[str](), set[str]()
    for index, alias in enumerate(spec.host_aliases):
        if alias.ip in seen:
            found.append(f"{path.index(index).child('ip')}: duplicate ip {shown(alias.ip)}")
        seen.add(alias.ip)
    return found


def _hidden_variables(container: core.Container, path: Path) -> list[str]:
    """A variable may be built upon the one of its name before it."""
    found: list[str] = []
    names: set[str] = set()
    for index, variable in enumerate(container.env):
        reference = f"$({variable.name})"
        builds_on = not variable.HasField("value_from") and reference in variable.value and variable.value != reference
        if variable.name in names and not builds_on:
            sentence = f"hides previous definition of {shown(variable.name)}, which may be dropped when using apply"
            found.append(f"{path.index(index)}: {sentence}")
        names.add(variable.name)
    return found


def _repeated_ports(spec: core.PodSpec, path: Path) -> list[str]:
    """Containers of a pod share its ports."""
    found: list[str] = []
    known: dict[tuple[int, str], list[tuple[Path, core.ContainerPort]]] = {}
    for name, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            for place, port in enumerate(container.ports):
                here = path.child(name).index(index).child("ports").index(place)
                others = known.setdefault((port.container_port, port.protocol), [])
                # Each repeats all those before it: of many the first few are told.
                for there, other in others[:MAX_TOLD]:
                    words = _overlap(port, other)
                    found += [f"{here}: {words} port definition with {there}"] if words else []
                others.append((here, port))
    return found


def _overlap(port: core.ContainerPort, other: core.ContainerPort) -> str:
    if (port.host_ip, port.host_port) == (other.host_ip, other.host_port):
        return "duplicate"
    if not port.host_port or not other.host_port:
        return "overlapping"
    one_is_everywhere = bool(port.host_ip) != bool(other.host_ip)
    return "dangerously ambiguous" if port.host_port == other.host_port and one_is_everywhere else ""


def _fractional(amounts: Mapping[str, meta.Quantity], path: Path) -> list[str]:
    return [
        f"{path.key(name)}: fractional byte value {shown(amounts[name].string)} is invalid, must be an integer"
        for name in BYTES
        if name in amounts and not is_whole(amounts[name])
    ]
