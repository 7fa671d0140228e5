"""Rules about the containers of a pod."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    check_named,
    check_port_number,
    dns1123_label,
    duplicate,
    invalid,
    port_name,
    required,
)
from knarr.objects.pods import has_own_users, is_sidecar
from services.apiserver.strategies.pod.environment import validate_env, validate_env_from
from services.apiserver.strategies.pod.probes import forbid_probes, validate_probes
from services.apiserver.strategies.pod.resources import validate_resize_policy, validate_resources
from services.apiserver.strategies.pod.restarts import validate_restarts
from services.apiserver.strategies.pod.security import validate_container_security
from services.apiserver.strategies.pod.volumes import validate_devices, validate_mounts

PROTOCOLS = ("SCTP", "TCP", "UDP")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("FallbackToLogsOnError", "File")


@dataclass(slots=True)
class PodFacts:
    """What the rules about one container need to know of its pod, and the names taken so far."""

    volumes: Collection[str]
    grace_seconds: int
    host_network: bool
    restart_policy: str
    # Its `spec.os.name`; empty where it does not say.
    os: str
    # The pod's volumes by their names, for those who ask for devices.
    devices: Mapping[str, core.Volume]
    # Users are those of the node.
    host_users: bool
    names: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, spec: core.PodSpec, volumes: Collection[str]) -> PodFacts:
        """``volumes`` are the names of those that may be mounted."""
        return cls(
            volumes,
            spec.termination_grace_period_seconds,
            spec.host_network,
            spec.restart_policy,
            spec.os.name,
            {volume.name: volume for volume in spec.volumes},
            not has_own_users(spec),
        )


def validate_containers(containers: Sequence[core.Container], facts: PodFacts, path: Path) -> list[Cause]:
    if not containers:
        return [required(path)]
    causes: list[Cause] = []
    host_ports: set[str] = set()
    for index, container in enumerate(containers):
        here = path.index(index)
        causes += _common(container, facts, here)
        causes += validate_probes(container, facts.grace_seconds, facts.os, here)
        causes += validate_restarts(container, here)
        causes += _host_ports(container, host_ports, here.child("ports"))
    return causes


def validate_init_containers(containers: Sequence[core.Container], facts: PodFacts, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, container in enumerate(containers):
        here = path.index(index)
        causes += _common(container, facts, here)
        causes += validate_restarts(container, here)
        if is_sidecar(container):
            causes += validate_probes(container, facts.grace_seconds, facts.os, here)
        else:
            causes += forbid_probes(container, here)
        causes += _host_ports(container, set(), here.child("ports"))
    return causes


def _common(container: core.Container, facts: PodFacts, path: Path) -> list[Cause]:
    causes = _name(container.name, facts.names, path.child("name"))
    causes += _image(container.image, path.child("image"))
    causes += check_choice(path.child("terminationMessagePolicy"), container.termination_message_policy, MESSAGE_POLICIES)
    causes += _ports(container.ports, facts.host_network, path.child("ports"))
    causes += validate_env(container.env, facts.volumes, path.child("env"))
    causes += validate_env_from(container.env_from, path.child("envFrom"))
    causes += validate_mounts(container, facts.volumes, path.child("volumeMounts"))
    causes += validate_devices(container, facts.devices, path.child("volumeDevices"))
    causes += check_choice(path.child("imagePullPolicy"), container.image_pull_policy, PULL_POLICIES)
    causes += validate_resources(container.resources, path.child("resources"))
    causes += validate_resize_policy(container.resize_policy, facts.restart_policy, path.child("resizePolicy"))
    if container.HasField("security_context"):
        here = path.child("securityContext")
        causes += validate_container_security(container.security_context, here, host_users=facts.host_users)
    return causes


def _name(name: str, taken: set[str], path: Path) -> list[Cause]:
    causes = check_named(path, name, dns1123_label)
    if name in taken:
        causes.append(duplicate(path, name))
    taken.add(name)
    return causes


def _image(image: str, path: Path) -> list[Cause]:
    if not image:
        return [required(path)]
    return [] if image == image.strip() else [invalid(path, image, "must not have leading or trailing whitespace")]


def _ports(ports: Sequence[core.ContainerPort], host_network: bool, path: Path) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here = path.index(index)
        if port.name:
            problems = check_format(here.child("name"), port.name, port_name)
            if not problems and port.name in names:
                problems = [duplicate(here.child("name"), port.name)]
            causes += problems
            names.add(port.name)
        if not port.container_port:
            causes.append(required(here.child("containerPort")))
        else:
            causes += check_port_number(here.child("containerPort"), port.container_port)
        if port.host_port:
            causes += check_port_number(here.child("hostPort"), port.host_port)
        if host_network and port.host_port not in (0, port.container_port):
            causes.append(invalid(here.child("containerPort"), port.container_port, "must match `hostPort` when `hostNetwork` is true"))
        causes += check_choice(here.child("protocol"), port.protocol, PROTOCOLS)
    return causes


def _host_ports(container: core.Container, taken: set[str], path: Path) -> list[Cause]:
    causes: list[Cause] = []
    for index, port in enumerate(container.ports):
        if not port.host_port:
            continue
        text = f"{port.protocol}/{port.host_ip}/{port.host_port}"
        if text in taken:
            causes.append(duplicate(path.index(index).child("hostPort"), text))
        taken.add(text)
    return causes
