"""Every field that protects: seen inside a real container, or refused.

One table. `FIELDS` says what a command in the container shows; `REFUSED` what the API server says, and what a kubelet says, in
Kubernetes' words, that is handed such a pod all the same.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError
from services.kubelet.pod.admission import refusal
from services.kubelet.runtime.hollow import HollowRuntime
from tests.kubelet.docker_support import docker
from tests.kubelet.support import NODE, running


@dataclass(frozen=True)
class Seen:
    """``pod`` and ``container`` are YAML of their specs. ``command`` runs in the container; its output holds ``shows``, a pattern."""

    name: str
    command: str
    shows: str
    pod: str = "{}"
    container: str = "{}"


@dataclass(frozen=True)
class Refused:
    """``api`` is in the API server's refusal, ``reason`` and ``message`` are those of the kubelet; no reason: the API's alone."""

    name: str
    api: str
    reason: str = ""
    message: str = ""
    pod: str = "{}"
    container: str = "{}"


FIELDS = [
    Seen(
        "run-as-user",
        "id -u; id -g",
        "^1100\n1101$",
        "{securityContext: {runAsUser: 1, runAsGroup: 1101}}",
        "{securityContext: {runAsUser: 1100}}",
    ),
    Seen(
        "groups", "id -G", r"\b3000 2000$|\b2000 3000$", "{securityContext: {runAsUser: 1100, fsGroup: 2000, supplementalGroups: [3000]}}"
    ),
    Seen("non-root", "id -u", "^7$", "{securityContext: {runAsNonRoot: true, runAsUser: 7}}"),
    Seen("drop-all", "cat /proc/self/status", r"CapBnd:\s0000000000000000", container="{securityContext: {capabilities: {drop: [ALL]}}}"),
    Seen(
        "add-one",
        "cat /proc/self/status",
        r"CapBnd:\s0000000000000400",
        container="{securityContext: {capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}}",
    ),
    Seen("no-escalation", "cat /proc/self/status", r"NoNewPrivs:\s1", container="{securityContext: {allowPrivilegeEscalation: false}}"),
    Seen("seccomp", "cat /proc/self/status", r"Seccomp:\s2", "{securityContext: {seccompProfile: {type: RuntimeDefault}}}"),
    Seen("unconfined", "cat /proc/self/status", r"Seccomp:\s0", "{securityContext: {seccompProfile: {type: Unconfined}}}"),
    Seen("read-only-root", "echo x > /x || echo refused", "refused", container="{securityContext: {readOnlyRootFilesystem: true}}"),
    Seen(
        "sysctl",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "^80$",
        '{securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "80"}]}}',
    ),
    Seen(
        "memory",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>&1",
        "^33554432$",
        container="{resources: {limits: {memory: 32Mi}}}",
    ),
    Seen("own-processes", "cat /proc/1/cmdline", "sleep", "{}"),
    Seen(
        "config-map-is-read-only",
        "cat /v/k; echo x > /v/k || echo refused; echo x > /v/new || echo refused; echo x > /one || echo refused",
        "^v.*refused.*refused.*refused",
        "{volumes: [{name: v, configMap: {name: m}}]}",
        "{volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /one, subPath: k}]}",
    ),
    Seen(
        "secret-is-in-memory",
        "cat /v/p; cat /proc/mounts; echo x > /v/p || echo refused",
        r"^hidden.*tmpfs /v tmpfs ro.*refused",
        "{securityContext: {runAsUser: 1100}, volumes: [{name: v, secret: {secretName: s}}]}",
        "{volumeMounts: [{name: v, mountPath: /v}]}",
    ),
    Seen(
        "sub-path-is-the-volumes",
        "echo mine > /a/file; cat /b/made/here/file; ls -ld /a",
        "^mine\ndrwxrwxrwx",
        "{securityContext: {runAsUser: 1100}, volumes: [{name: v, emptyDir: {}}]}",
        "{volumeMounts: [{name: v, mountPath: /a, subPath: made/here}, {name: v, mountPath: /b}]}",
    ),
    Seen("name-files", "cat /etc/hosts /etc/resolv.conf", "Kubernetes-managed", "{securityContext: {runAsUser: 1100}}"),
]

LOCALHOST = "{type: Localhost, localhostProfile: nope}"
REFUSED = [
    Refused(
        "seccomp",
        "profiles of the node",
        "Seccomp",
        'cannot load seccomp profile "nope"',
        f"{{securityContext: {{seccompProfile: {LOCALHOST}}}}}",
    ),
    Refused(
        "seccomp-of-one", "profiles of the node", "Seccomp", '"nope"', container=f"{{securityContext: {{seccompProfile: {LOCALHOST}}}}}"
    ),
    Refused(
        "apparmor", "profiles of the node", "AppArmor", "Cannot enforce AppArmor", f"{{securityContext: {{appArmorProfile: {LOCALHOST}}}}}"
    ),
    Refused(
        "apparmor-of-one", "profiles of the node", "AppArmor", "nope", container=f"{{securityContext: {{appArmorProfile: {LOCALHOST}}}}}"
    ),
    Refused("host-users", "user namespace", "UserNamespacesNotSupported", "does not support user namespaces", "{hostUsers: false}"),
    Refused("runtime-class", 'RuntimeClass "gvisor" not found', pod="{runtimeClassName: gvisor}"),
    Refused(
        "groups-policy",
        "groups that the image gives",
        "SupplementalGroupsPolicyNotSupported",
        "SupplementalGroupsPolicy=Strict is not supported in this node",
        "{securityContext: {supplementalGroupsPolicy: Strict}}",
    ),
    Refused(
        "recursive-read-only",
        "stay writable",
        "RecursiveReadOnlyNotSupported",
        'volume "h" requested recursive read-only mode',
        "{volumes: [{name: h, hostPath: {path: /srv}}]}",
        "{volumeMounts: [{name: h, mountPath: /h, readOnly: true, recursiveReadOnly: Enabled}]}",
    ),
    Refused("windows", "no node runs Windows", "PodOSNotSupported", "OS field doesn't match node OS", "{os: {name: windows}}"),
]


def pod_of(row: Seen | Refused, image: str = "app:1") -> core.Pod:
    container: dict[str, Any] = {"name": "app", "image": image, "command": ["sleep", "1000"], **yaml.safe_load(row.container)}
    spec = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, **yaml.safe_load(row.pod), "containers": [container]}
    found = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": row.name, "namespace": "default"}, "spec": spec}
    return codec.from_json(core.Pod, found, codec.UnknownFields.REJECT).message


@pytest.mark.parametrize("row", [row for row in REFUSED if row.reason], ids=lambda row: row.name)
def test_a_kubelet_does_not_run_what_it_cannot_protect(row: Refused) -> None:
    found = refusal(pod_of(row), [], {})
    assert found is not None
    assert found.reason == row.reason and row.message in found.message


async def test_the_api_server_refuses_what_no_kubelet_does(tmp_path: Path) -> None:
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        for row in REFUSED:
            with pytest.raises(StatusError, match=re.escape(row.api)):
                await cluster.client.create(pod_of(row))


async def test_a_sysctl_that_is_not_safe_fails_the_pod(tmp_path: Path) -> None:
    row = Refused("sysctl", "", pod='{securityContext: {sysctls: [{name: kernel.msgmax, value: "65000"}]}}')
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        await cluster.client.create(pod_of(row))
        failed = await cluster.phase("Failed", row.name)
        assert (failed.status.reason, failed.status.message) == (
            "SysctlForbidden",
            'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
        )


@pytest.mark.docker
async def test_what_a_field_says_is_so_in_the_container(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        for obj in (core.ConfigMap(data={"k": "v\n"}), core.Secret(data={"p": b"hidden\n"})):
            obj.metadata.name, obj.metadata.namespace = ("m" if isinstance(obj, core.ConfigMap) else "s"), "default"
            await cluster.client.create(obj)
        for row in FIELDS:
            await cluster.client.create(pod_of(row, image))
        wrong = {}
        for row in FIELDS:
            container = (await cluster.ready(row.name)).status.container_statuses[0].container_id.partition("://")[2]
            session = await runtime.exec(container, ("sh", "-c", row.command), stdin=False, tty=False)
            out = b""
            async with asyncio.timeout(10):
                while (piece := await session.read()) is not None:
                    out += piece[1]
            await session.close()
            text = out.decode(errors="replace").strip()
            if not re.search(row.shows, text, re.DOTALL | re.MULTILINE):
                wrong[row.name] = text
        assert not wrong
