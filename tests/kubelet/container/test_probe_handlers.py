"""What a probe or a hook is asked of the runtime for: named ports, addresses, headers; and how long a hook may take."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from services.kubelet.container.hooks import HookRunner
from services.kubelet.container.probes import UnknownPort, check_of
from services.kubelet.pod.context import PodContext
from services.kubelet.runtime.port import Check, Container, ExecCheck, GrpcCheck, HttpCheck, ProbeResult, RuntimeUnavailable, TcpCheck
from tests.support.virtual_time import virtual_time

IP = "10.244.0.2"


def container_of(**fields: str) -> core.Container:
    """With a port 8080 that is called ``web``; ``fields`` are YAML of what else it has."""
    own = {name: yaml.safe_load(text) for name, text in fields.items()}
    found = {"name": "app", "ports": [{"name": "web", "containerPort": 8080}], **own}
    return codec.from_json(core.Container, found, codec.UnknownFields.REJECT).message


@pytest.mark.parametrize(
    ("probe", "check"),
    [
        ("{exec: {command: [cat, /ready]}}", ExecCheck(("cat", "/ready"))),
        ("{httpGet: {path: /live, port: 80}}", HttpCheck(IP, 80, "/live", "HTTP")),
        ("{httpGet: {path: live, port: web, scheme: HTTPS}}", HttpCheck(IP, 8080, "/live", "HTTPS")),
        ("{httpGet: {port: '81'}}", HttpCheck(IP, 81, "/", "HTTP")),
        (
            "{httpGet: {path: /, port: web, host: 127.0.0.1, protocol: HTTP2, httpHeaders: [{name: Host, value: a}, {name: X, value: b}]}}",
            HttpCheck("127.0.0.1", 8080, "/", "HTTP", (("Host", "a"), ("X", "b")), True),
        ),
        ("{tcpSocket: {port: web}}", TcpCheck(IP, 8080)),
        ("{tcpSocket: {port: 5432, host: 192.0.2.1}}", TcpCheck("192.0.2.1", 5432)),
        ("{grpc: {port: 9000}}", GrpcCheck(IP, 9000, "", False)),
        ("{grpc: {port: 9000, service: live, mode: TLS}}", GrpcCheck(IP, 9000, "live", True)),
    ],
)
def test_what_a_probe_asks(probe: str, check: Check) -> None:
    spec = container_of(livenessProbe=probe)
    assert check_of(spec.liveness_probe.handler, spec, IP) == check


@pytest.mark.parametrize("handler", ["{httpGet: {port: nope}}", "{tcpSocket: {port: nope}}"])
def test_a_port_that_nobody_declares(handler: str) -> None:
    spec = container_of(readinessProbe=handler)
    with pytest.raises(UnknownPort, match="couldn't find port: nope"):
        check_of(spec.readiness_probe.handler, spec, IP)


class Asked:
    """A runtime that answers ``answer`` and keeps what it was asked, and for how long."""

    def __init__(self, answer: ProbeResult | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[Check, float]] = []
        self.told: list[str] = []

    async def check(self, _: str, check: Check, timeout_seconds: float) -> ProbeResult:
        self.asked.append((check, timeout_seconds))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @property
    def hooks(self) -> HookRunner:
        events = SimpleNamespace(container=lambda kind, reason, text, name: self.told.append(reason))
        context: Any = SimpleNamespace(shared=SimpleNamespace(runtime=self), events=events)
        return HookRunner(cast(PodContext, context))


WELL, RUNNING_ONE = ProbeResult(True, ""), Container("id", "app", 0, "running")


@pytest.mark.parametrize(("seconds", "grace", "slept"), [(5, 30, 5), (60, 30, 30), (0, 30, 0)])
@virtual_time
async def test_a_hook_that_sleeps_ends_with_the_grace_period(seconds: int, grace: float, slept: float) -> None:
    runtime, loop = Asked(WELL), asyncio.get_running_loop()
    spec = container_of(lifecycle=f"{{preStop: {{sleep: {{seconds: {seconds}}}}}}}")
    began = loop.time()
    await runtime.hooks.pre_stop(spec, RUNNING_ONE, IP, grace)
    assert loop.time() - began == pytest.approx(slept, abs=0.01)
    assert not runtime.asked and not runtime.told


@pytest.mark.parametrize(
    ("hook", "check"),
    [
        ("{exec: {command: [bye]}}", ExecCheck(("bye",))),
        ("{httpGet: {path: /bye, port: web}}", HttpCheck(IP, 8080, "/bye", "HTTP", hook=True)),
        ("{tcpSocket: {port: web}}", TcpCheck(IP, 8080)),
    ],
)
async def test_what_a_hook_asks(hook: str, check: Check) -> None:
    runtime = Asked(WELL)
    await runtime.hooks.pre_stop(container_of(lifecycle=f"{{preStop: {hook}}}"), RUNNING_ONE, IP, 7.0)
    assert (runtime.asked, runtime.told) == ([(check, 7.0)], [])


@pytest.mark.parametrize(
    ("hook", "answer"),
    [
        ("{exec: {command: [bye]}}", ProbeResult(False, "")),
        ("{exec: {command: [bye]}}", RuntimeUnavailable("away")),
        ("{httpGet: {port: nope}}", WELL),
    ],
)
async def test_a_hook_that_fails_holds_no_stop_up(hook: str, answer: ProbeResult | Exception) -> None:
    runtime = Asked(answer)
    await runtime.hooks.pre_stop(container_of(lifecycle=f"{{preStop: {hook}}}"), RUNNING_ONE, IP, 7.0)
    assert runtime.told == ["FailedPreStopHook"]


async def test_a_hook_of_which_nobody_knows_whether_it_ran_is_no_failure() -> None:
    runtime = Asked(RuntimeUnavailable("away"))
    with pytest.raises(RuntimeUnavailable):
        await runtime.hooks.post_start(container_of(lifecycle="{postStart: {exec: {command: [hello]}}}"), RUNNING_ONE, IP)
    assert runtime.told == []
