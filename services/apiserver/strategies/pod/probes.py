"""Rules about probes and lifecycle hooks."""

from __future__ import annotations

from typing import Any

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import (
    Path,
    check_choice,
    check_format,
    check_not_negative,
    check_port_number,
    forbidden,
    http_header_name,
    invalid,
    port_name,
    required,
)
from knarr.objects.int_or_string import is_text

PROBES = (("liveness_probe", "livenessProbe"), ("readiness_probe", "readinessProbe"), ("startup_probe", "startupProbe"))
HOOKS = (("post_start", "postStart"), ("pre_stop", "preStop"))
COUNTS = (
    ("initial_delay_seconds", "initialDelaySeconds"),
    ("timeout_seconds", "timeoutSeconds"),
    ("period_seconds", "periodSeconds"),
    ("success_threshold", "successThreshold"),
    ("failure_threshold", "failureThreshold"),
)

REAL_TIME = ("", *(f"+{number}" for number in range(1, 16)))
_NAMES = """
ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP SYS TERM TRAP TSTP TTIN TTOU URG USR1
USR2 VTALRM WINCH XCPU XFSZ
"""
LINUX_SIGNALS = (
    *(f"SIG{name}" for name in _NAMES.split()),
    *(f"SIGRTMIN{offset}" for offset in REAL_TIME),
    *(f"SIGRTMAX{offset.replace('+', '-')}" for offset in REAL_TIME[:15]),
)
WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def validate_probes(container: core.Container, grace_seconds: int, os: str, path: Path) -> list[Cause]:
    """The probes and hooks of a container that runs beside others. ``os`` is its pod's, empty where that does not say."""
    causes: list[Cause] = []
    if container.HasField("lifecycle"):
        if container.lifecycle.HasField("stop_signal"):
            causes += _stop_signal(container.lifecycle.stop_signal, os, path.child("lifecycle", "stopSignal"))
        for field, name in HOOKS:
            if container.lifecycle.HasField(field):
                causes += _handler(getattr(container.lifecycle, field), grace_seconds, path.child("lifecycle", name))
    for field, name in PROBES:
        if container.HasField(field):
            causes += _probe(getattr(container, field), name, grace_seconds, path.child(name))
    return causes


def _stop_signal(signal: str, os: str, path: Path) -> list[Cause]:
    if not os:
        return [forbidden(path, "may not be set for containers with empty `spec.os.name`")]
    return check_choice(path, signal, WINDOWS_SIGNALS if os == "windows" else LINUX_SIGNALS)


def forbid_probes(container: core.Container, path: Path) -> list[Cause]:
    """An init container that must end has nothing to probe."""
    fields = [("lifecycle", "lifecycle"), *PROBES]
    sentence = "may not be set for init containers without restartPolicy=Always"
    return [forbidden(path.child(name), sentence) for field, name in fields if container.HasField(field)]


def _probe(probe: core.Probe, kind: str, grace_seconds: int, path: Path) -> list[Cause]:
    causes = _handler(probe.handler, grace_seconds, path)
    for field, name in COUNTS:
        causes += check_not_negative(path.child(name), getattr(probe, field))
    grace = path.child("terminationGracePeriodSeconds")
    if probe.HasField("termination_grace_period_seconds"):
        if kind == "readinessProbe":
            causes.append(invalid(grace, probe.termination_grace_period_seconds, "must not be set for readinessProbes"))
        elif probe.termination_grace_period_seconds <= 0:
            causes.append(invalid(grace, probe.termination_grace_period_seconds, "must be greater than 0"))
    if kind != "readinessProbe" and probe.success_threshold != 1:
        causes.append(invalid(path.child("successThreshold"), probe.success_threshold, "must be 1"))
    return causes


def _handler(handler: Any, grace_seconds: int, path: Path) -> list[Cause]:
    """Exactly one of exec, httpGet, tcpSocket, grpc (probes) or sleep (hooks)."""
    names = {"exec": "exec", "http_get": "httpGet", "tcp_socket": "tcpSocket", "grpc": "grpc", "sleep": "sleep"}
    given = [field for field in names if field in handler.DESCRIPTOR.fields_by_name and handler.HasField(field)]
    if not given:
        return [required(path, "must specify a handler type")]
    first, *others = given
    causes = _action(first, getattr(handler, first), grace_seconds, path.child(names[first]))
    return causes + [forbidden(path.child(names[field]), "may not specify more than 1 handler type") for field in others]


def _action(kind: str, action: Any, grace_seconds: int, path: Path) -> list[Cause]:
    if kind == "exec":
        return [] if action.command else [required(path.child("command"))]
    if kind == "http_get":
        return _http_get(action, path)
    if kind == "tcp_socket":
        return validate_port_number_or_name(action.port, path.child("port"))
    if kind == "grpc":
        causes = check_port_number(path.child("port"), action.port)
        return causes + check_choice(path.child("mode"), action.mode, ("Plaintext", "TLS"), optional=True)
    if 0 <= action.seconds <= grace_seconds:
        return []
    sentence = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
    return [invalid(path, action.seconds, sentence)]


def _http_get(action: core.HTTPGetAction, path: Path) -> list[Cause]:
    causes = [] if action.path else [required(path.child("path"))]
    causes += validate_port_number_or_name(action.port, path.child("port"))
    causes += check_choice(path.child("scheme"), action.scheme, ("HTTP", "HTTPS"))
    causes += check_choice(path.child("protocol"), action.protocol, ("HTTP1", "HTTP2"), optional=True)
    for header in action.http_headers:
        causes += check_format(path.child("httpHeaders"), header.name, http_header_name)
    return causes


def validate_port_number_or_name(port: meta.IntOrString, path: Path) -> list[Cause]:
    if not is_text(port):
        return check_port_number(path, port.int_val)
    return check_format(path, port.str_val, port_name)
