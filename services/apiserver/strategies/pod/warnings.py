"""What is probably a mistake in a pod's spec although it is accepted."""

from __future__ import annotations

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.validation import Path, shown
from services.apiserver.strategies.amounts import is_whole

RENAMED_LABELS = {"beta.kubernetes.io/arch": "kubernetes.io/arch", "beta.kubernetes.io/os": "kubernetes.io/os"}
BYTES = ("ephemeral-storage", "memory")


def pod_spec_warnings(spec: core.PodSpec, path: Path) -> list[str]:
    found = [
        f'{path.child("nodeSelector").key(old)}: deprecated since v1.14; use "{new}" instead'
        for old, new in RENAMED_LABELS.items()
        if old in spec.node_selector
    ]
    found += _pull_secrets(spec, path.child("imagePullSecrets"))
    for name, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for index, container in enumerate(containers):
            here = path.child(name).index(index)
            found += _hidden_variables(container, here.child("env"))
            found += _repeated_ports(container, here.child("ports"))
            found += _fractional_bytes(container, here.child("resources"))
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


def _hidden_variables(container: core.Container, path: Path) -> list[str]:
    found: list[str] = []
    names: set[str] = set()
    for index, variable in enumerate(container.env):
        if variable.name in names:
            sentence = f"hides previous definition of {shown(variable.name)}, which may be dropped when using apply"
            found.append(f"{path.index(index)}: {sentence}")
        names.add(variable.name)
    return found


def _repeated_ports(container: core.Container, path: Path) -> list[str]:
    found: list[str] = []
    first: dict[tuple[str, int, int, str], int] = {}
    for index, port in enumerate(container.ports):
        same = first.setdefault((port.protocol, port.container_port, port.host_port, port.host_ip), index)
        if same != index:
            found.append(f"{path.index(index)}: duplicate port definition with {path.index(same)}")
    return found


def _fractional_bytes(container: core.Container, path: Path) -> list[str]:
    found: list[str] = []
    for field, amounts in (("limits", container.resources.limits), ("requests", container.resources.requests)):
        for name in BYTES:
            if name in amounts and not is_whole(amounts[name]):
                here = path.child(field).key(name)
                found.append(f"{here}: fractional byte value {shown(amounts[name].string)} is invalid, must be an integer")
    return found
