"""What must hold of a pod that comes from a file: nobody has judged it before, and a node relies on it. Pure.

The API server asks more of those that come by it; here is what else would begin and never go well, or go on otherwise than it says.
"""

from __future__ import annotations

from collections.abc import Iterator

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    NOT_NEGATIVE,
    Path,
    check_choice,
    check_format,
    check_named,
    check_not_negative,
    check_port_number,
    dns1123_label,
    env_var_name,
    forbidden,
    invalid,
    not_found,
    range_error,
    required,
)
from knarr.objects.int_or_string import is_text
from knarr.objects.pods import is_sidecar

LONGEST_SECONDS = 2**31 - 1
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
PROTOCOLS = ("TCP", "UDP", "SCTP")
PROBES = ("liveness_probe", "readiness_probe", "startup_probe")
PROBE_NUMBERS = ("initial_delay_seconds", "timeout_seconds", "period_seconds", "success_threshold", "failure_threshold")
HOOKS = ("post_start", "pre_stop")


def judge(spec: core.PodSpec) -> Iterator[Cause]:
    """Why no node could run that, or would run something else."""
    path = Path("spec")
    if spec.HasField("active_deadline_seconds") and not 1 <= spec.active_deadline_seconds <= LONGEST_SECONDS:
        yield invalid(path.child("activeDeadlineSeconds"), spec.active_deadline_seconds, range_error(1, LONGEST_SECONDS))
    yield from check_not_negative(path.child("terminationGracePeriodSeconds"), spec.termination_grace_period_seconds)
    yield from check_choice(path.child("dnsPolicy"), spec.dns_policy, DNS_POLICIES, optional=True)
    if spec.hostname:
        yield from check_format(path.child("hostname"), spec.hostname, dns1123_label)
    for at, volume in enumerate(spec.volumes):
        yield from _volume(volume, path.child("volumes").index(at))
    volumes = {volume.name for volume in spec.volumes}
    for field, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for at, container in enumerate(containers):
            where = path.child(field).index(at)
            yield from _container(container, volumes, where)
            if field == "initContainers" and not is_sidecar(container):
                yield from _unprobed(container, where)


def _volume(volume: core.Volume, path: Path) -> Iterator[Cause]:
    sources = [descriptor.json_name for descriptor, _ in volume.volume_source.ListFields()]
    if not sources:
        yield required(path, "must specify a volume type")
    yield from (forbidden(path.child(name), "may not specify more than 1 volume type") for name in sources[1:])


def _container(container: core.Container, volumes: set[str], path: Path) -> Iterator[Cause]:
    yield from check_choice(path.child("imagePullPolicy"), container.image_pull_policy, PULL_POLICIES, optional=True)
    policy = container.termination_message_policy
    yield from check_choice(path.child("terminationMessagePolicy"), policy, MESSAGE_POLICIES, optional=True)
    for at, port in enumerate(container.ports):
        yield from _port(port, path.child("ports").index(at))
    for at, variable in enumerate(container.env):
        yield from check_named(path.child("env").index(at).child("name"), variable.name, env_var_name)
    for at, mount in enumerate(container.volume_mounts):
        where = path.child("volumeMounts").index(at)
        yield from [] if mount.name in volumes else [not_found(where.child("name"), mount.name)]
        yield from [] if mount.mount_path else [required(where.child("mountPath"))]
    for kind in ("limits", "requests"):
        amounts = getattr(container.resources, kind)
        for name in sorted(amounts):
            if quantity.value(amounts[name].string or "0") < 0:
                yield invalid(path.child("resources", kind).key(name), amounts[name].string, NOT_NEGATIVE)
    yield from _handlers(container, path)


def _port(port: core.ContainerPort, path: Path) -> Iterator[Cause]:
    yield from check_port_number(path.child("containerPort"), port.container_port)
    yield from check_port_number(path.child("hostPort"), port.host_port) if port.host_port else []
    yield from check_choice(path.child("protocol"), port.protocol, PROTOCOLS, optional=True)


def _handlers(container: core.Container, path: Path) -> Iterator[Cause]:
    for field in PROBES:
        if container.HasField(field):
            probe = getattr(container, field)
            where = path.child(_json_name(container, field))
            yield from _handler(probe.handler, where)
            for number in PROBE_NUMBERS:
                yield from check_not_negative(where.child(_json_name(probe, number)), getattr(probe, number))
    for field in HOOKS:
        if container.lifecycle.HasField(field):
            yield from _handler(getattr(container.lifecycle, field), path.child("lifecycle", _json_name(container.lifecycle, field)))


def _handler(handler: core.ProbeHandler | core.LifecycleHandler, path: Path) -> Iterator[Cause]:
    given = [descriptor.name for descriptor, _ in handler.ListFields()]
    if not given:
        yield required(path, "must specify a handler type")
    for field in given[1:]:
        yield forbidden(path.child(_json_name(handler, field)), "may not specify more than 1 handler type")
    for field in {"http_get", "tcp_socket"}.intersection(given):
        port = getattr(handler, field).port
        if not is_text(port):
            yield from check_port_number(path.child(_json_name(handler, field), "port"), port.int_val)


def _unprobed(container: core.Container, path: Path) -> Iterator[Cause]:
    for field in ("lifecycle", *PROBES):
        if container.HasField(field):
            name = _json_name(container, field)
            yield forbidden(path.child(name), "may not be set for init containers without restartPolicy=Always")


def _json_name(message: core.Container | core.Probe | core.Lifecycle | core.ProbeHandler | core.LifecycleHandler, field: str) -> str:
    return str(message.DESCRIPTOR.fields_by_name[field].json_name)
