"""Every field of a pod's surroundings and volumes: seen inside a real container, or refused.

One table. `FIELDS` says what a command in the container shows; `REFUSED` what the API server says, and what a kubelet says, in
Kubernetes' words, that is handed such a pod all the same.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError
from services.kubelet.node.beneath import opened
from services.kubelet.node.mounts import bind, mount_tmpfs, mounts_below, share, unmount_all
from services.kubelet.node.view import NO_MODULES, HostSecurity
from services.kubelet.pod.admission import refusal
from services.kubelet.pod.protection import unheeded
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import Runtime
from tests.kubelet.docker_support import docker
from tests.kubelet.pod.claims import bound, disk
from tests.kubelet.support import NODE, Cluster, running
from tests.support.loop import loop_device


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


OWN_PROFILE = "{type: Localhost, localhostProfile: deep/p.json}"
FS_GROUP = "{securityContext: {runAsUser: 1100, fsGroup: 2000}, volumes: [{name: v, emptyDir: {}}]}"
NODE_FOLDER = "{volumes: [{name: v, hostPath: {path: ROOT/outer, type: Directory}}]}"
BLOCK = """
volumes:
- {name: disk, persistentVolumeClaim: {claimName: disk}}
- {name: same, persistentVolumeClaim: {claimName: disk, readOnly: true}}
"""
EMPTY = """
volumes:
- {name: v, emptyDir: {}}
- {name: sticky, emptyDir: {mode: 01777}}
- {name: memory, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
- {name: m, configMap: {name: m}}
- {name: image, image: {reference: IMAGE, pullPolicy: Never}}
- {name: labels, downwardAPI: {items: [{path: tier, fieldRef: {fieldPath: "metadata.labels['tier']"}}]}}
- name: owned
  projected:
    defaultUser: 1234
    sources:
    - secret: {name: s, items: [{key: p, path: secret, mode: 0400, user: 77}, {key: p, path: plain}]}
    - configMap: {name: m, items: [{key: k, path: config, mode: 0440}]}
    - downwardAPI: {items: [{path: labels, user: 77, fieldRef: {fieldPath: metadata.labels}}]}
"""
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
    Seen("image-groups", "id -G", "^1501 1600 3000$", "{securityContext: {runAsUser: 1500, supplementalGroups: [3000]}}"),
    Seen("image-groups-beside-another", "id -G", "^7 1600$", container="{securityContext: {runAsUser: 1500, runAsGroup: 7}}"),
    Seen(
        "strict-groups",
        "id -G",
        "^1501 3000$",
        "{securityContext: {runAsUser: 1500, supplementalGroups: [3000], supplementalGroupsPolicy: Strict}}",
    ),
    Seen(
        "own-seccomp",
        "busybox mkdir /x || echo refused",
        "refused",
        container=f"{{securityContext: {{seccompProfile: {OWN_PROFILE}}}}}",
    ),
    Seen("terminal", "ls -l /proc/1/fd/0", "/dev/(pts/|console)", container="{tty: true, stdin: true}"),
    Seen("host-processes", "cat /proc/1/comm", f"^{re.escape(Path('/proc/1/comm').read_text().strip())}$", "{hostPID: true}"),
    Seen("host-ipc", "busybox readlink /proc/self/ns/ipc", f"^{re.escape(str(Path('/proc/self/ns/ipc').readlink()))}$", "{hostIPC: true}"),
    Seen(
        "names",
        "cat /etc/hosts /etc/resolv.conf",
        r"192\.0\.2\.7\talias\tother.*search corp\.example\nnameserver 192\.0\.2\.53\noptions ndots:2",
        "{hostAliases: [{ip: 192.0.2.7, hostnames: [alias, other]}], dnsPolicy: None, "
        "dnsConfig: {nameservers: [192.0.2.53], searches: [corp.example], options: [{name: ndots, value: '2'}]}}",
    ),
    Seen(
        "group-of-volumes",
        "ls -ldn /v; touch /v/x; ls -ln /v",
        r"^drwxrwsrwx +\d+ 0 +2000 .* 1100 +2000 .*x$",
        FS_GROUP,
        "{volumeMounts: [{name: v, mountPath: /v}]}",
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
    Seen(
        "no-swap",
        "cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes /sys/fs/cgroup/memory.swap.max 2>&1",
        "^33554432$|^0$",
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
    Seen(
        "node-folder-read-only",
        "echo x > /v/x || echo refused; echo x > /v/inner/x && echo taken",
        "refused.*taken",
        NODE_FOLDER,
        "{volumeMounts: [{name: v, mountPath: /v, readOnly: true}]}",
    ),
    Seen(
        "node-folder-read-only-throughout",
        "cat /v/inner/x; echo x > /v/x || echo refused; echo x > /v/inner/x || echo refused; cat /proc/mounts",
        r"refused.*refused.* /v/inner tmpfs ro,",
        NODE_FOLDER,
        "{volumeMounts: [{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: Enabled}]}",
    ),
    Seen(
        "read-only-if-possible",
        "cat /proc/mounts",
        r" /v/inner tmpfs ro,",
        NODE_FOLDER,
        "{volumeMounts: [{name: v, mountPath: /v, readOnly: true, recursiveReadOnly: IfPossible}]}",
    ),
    Seen("told-mounts", "ls /v/later", "^$", NODE_FOLDER, "{volumeMounts: [{name: v, mountPath: /v, mountPropagation: HostToContainer}]}"),
    Seen(
        "bind-options",
        "cat /proc/mounts",
        r" /v \S+ rw,nosuid,nodev,noexec",
        EMPTY,
        "{volumeMounts: [{name: v, mountPath: /v, bindMountOptions: [noexec, nosuid, nodev]}]}",
    ),
    Seen(
        "bind-options-read-only",
        "cat /proc/mounts; echo x > /v/x || echo refused",
        # The engine mounts folders of one depth in any order.
        r"\A(?=.* /v \S+ ro,[a-z,]*noexec)(?=.* /deep \S+ rw,[a-z,]*noexec).*refused",
        EMPTY,
        "{volumeMounts: [{name: v, mountPath: /v, readOnly: true, bindMountOptions: [noexec]}, "
        "{name: v, mountPath: /deep, subPath: deep, bindMountOptions: [noexec]}]}",
    ),
    Seen("sticky", "ls -ld /v", "^drwxrwxrwt", EMPTY, "{volumeMounts: [{name: sticky, mountPath: /v}]}"),
    Seen(
        "memory-volume",
        "cat /proc/mounts; head -c 2000000 /dev/zero > /v/x || echo full",
        r"tmpfs /v tmpfs \S*size=1024k.*full",
        EMPTY,
        "{volumeMounts: [{name: memory, mountPath: /v}]}",
    ),
    Seen(
        "owners",
        "cd /v; ls -lnL secret plain config labels",
        r"-r--r----- +1 1234 .* config$.*-rw-r--r-- +1 77 .* labels$.*-rw-r--r-- +1 1234 .* plain$.*-r-------- +1 77 .* secret$",
        EMPTY,
        "{volumeMounts: [{name: owned, mountPath: /v}]}",
    ),
    Seen(
        "follows",
        "cat /labels/tier /m/k",
        "^frontv$",
        EMPTY,
        "{volumeMounts: [{name: labels, mountPath: /labels}, {name: m, mountPath: /m}]}",
    ),
    Seen(
        "image-volume",
        "ls /v/bin/busybox; cat /passwd; echo x > /v/x || echo closed; /v/bin/busybox true || echo inert; ls -ld /v/tmp",
        "^/v/bin/busybox.*app:x:1500.*closed.*inert.*^drwxrwxrwx",
        EMPTY,
        "{volumeMounts: [{name: image, mountPath: /v}, {name: image, mountPath: /passwd, subPath: etc/passwd}]}",
    ),
    Seen(
        "block-volume",
        "head -c 6 /dev/xvda; echo other | busybox dd of=/dev/xvda seek=1 2>&-; busybox dd if=/dev/xvda skip=1 2>&- | head -c 5",
        "^first.other$",
        BLOCK,
        "{volumeDevices: [{name: disk, devicePath: /dev/xvda}]}",
    ),
    Seen(
        "block-volume-read-only",
        "head -c 6 /dev/xvdb; echo x > /dev/xvdb || echo closed",
        "^first.*closed$",
        BLOCK,
        "{volumeDevices: [{name: same, devicePath: /dev/xvdb}]}",
    ),
    Seen("name-files", "cat /etc/hosts /etc/resolv.conf", "Kubernetes-managed", "{securityContext: {runAsUser: 1100}}"),
]

# What the same containers show once the node and the API have changed.
LATER = [
    Seen("follows", "cat /labels/tier /m/k", "^backw$"),
    Seen("told-mounts", "ls /v/later", "^new$"),
]
PROFILE = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}
LOCALHOST = "{type: Localhost, localhostProfile: nope}"
APP_ARMOR = "Cannot enforce AppArmor: AppArmor is not enabled on the host"
REFUSED = [
    Refused("apparmor", "", "AppArmor", APP_ARMOR, f"{{securityContext: {{appArmorProfile: {LOCALHOST}}}}}"),
    Refused("apparmor-of-one", "", "AppArmor", APP_ARMOR, container="{securityContext: {appArmorProfile: {type: RuntimeDefault}}}"),
    Refused("selinux", "", "SELinux", "SELinux is not enabled on the host", container="{securityContext: {seLinuxOptions: {type: spc_t}}}"),
    Refused("runtime-class", 'RuntimeClass "gvisor" not found', pod="{runtimeClassName: gvisor}"),
    Refused("proc-mount", "`hostUsers` must be false to use `Unmasked`", container="{securityContext: {procMount: Unmasked}}"),
    Refused(
        "seccomp-elsewhere",
        "must not contain '..'",
        pod="{securityContext: {seccompProfile: {type: Localhost, localhostProfile: ../pki/key}}}",
    ),
    Refused("windows", "no node runs Windows", "PodOSNotSupported", "OS field doesn't match node OS", "{os: {name: windows}}"),
]


def pod_of(row: Seen | Refused, image: str = "app:1") -> core.Pod:
    container: dict[str, Any] = {"name": "app", "image": image, "command": ["sleep", "1000"], **yaml.safe_load(row.container)}
    spec = {"nodeName": NODE, "terminationGracePeriodSeconds": 0, **yaml.safe_load(row.pod), "containers": [container]}
    found = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": row.name, "namespace": "default", "labels": {"tier": "front"}},
        "spec": spec,
    }
    return codec.from_json(core.Pod, found, codec.UnknownFields.REJECT).message


@pytest.mark.parametrize("row", [row for row in REFUSED if row.reason], ids=lambda row: row.name)
def test_a_kubelet_does_not_run_what_it_cannot_protect(row: Refused) -> None:
    found = refusal(pod_of(row), [], {})
    assert found is not None
    assert found.reason == row.reason and row.message in found.message


def test_a_level_of_selinux_is_told_to_have_no_effect_where_there_is_none() -> None:
    pod = pod_of(Seen("level", "", "", "{securityContext: {seLinuxOptions: {level: 's0:c0,c1'}}}"))
    assert refusal(pod, [], {}) is None
    said = unheeded(pod, NO_MODULES)
    assert said is not None and said.reason == "SELinuxLevelIgnored"
    assert unheeded(pod, HostSecurity(selinux=True)) is None
    assert unheeded(pod_of(Seen("plain", "", "")), NO_MODULES) is None


async def test_the_api_server_refuses_what_no_kubelet_does(tmp_path: Path) -> None:
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        for row in (row for row in REFUSED if row.api):
            with pytest.raises(StatusError, match=re.escape(row.api)):
                await cluster.client.create(pod_of(row))


def waits(pod: core.Pod | None) -> list[core.ContainerStateWaiting]:
    return [status.state.waiting for status in pod.status.container_statuses] if pod is not None else []


async def test_a_profile_that_the_node_has_not_is_told_and_waited_for(tmp_path: Path) -> None:
    row = Refused("web", "", pod=f"{{securityContext: {{seccompProfile: {LOCALHOST}}}}}")
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        await cluster.client.create(pod_of(row))
        waiting = await cluster.until(lambda: [found for found in waits(cluster.pod()) if found.message])
        path = tmp_path / "seccomp" / "nope"
        words = f'cannot load seccomp profile "{path}": open {path}: no such file or directory'
        assert (waiting[0].reason, waiting[0].message) == ("CreateContainerError", words)
        assert cluster.events("Failed")[0] == f"Error: {words}"


async def test_a_pod_that_wants_users_of_its_own_never_runs_without(tmp_path: Path) -> None:
    row = Refused("web", "", pod="{hostUsers: false}")
    words = "Failed to create pod sandbox: can't set `spec.hostUsers: false`, runtime does not support user namespaces"
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        await cluster.client.create(pod_of(row))
        await cluster.until(lambda: words in cluster.events("FailedCreatePodSandBox"))
        assert cluster.observed() is None and cluster.pod().status.phase == "Pending"  # type: ignore[union-attr]


async def test_a_sysctl_that_is_not_safe_fails_the_pod(tmp_path: Path) -> None:
    row = Refused("sysctl", "", pod='{securityContext: {sysctls: [{name: kernel.msgmax, value: "65000"}]}}')
    async with running(HollowRuntime("10.244.0.0/24"), tmp_path) as cluster:
        await cluster.client.create(pod_of(row))
        failed = await cluster.phase("Failed", row.name)
        assert (failed.status.reason, failed.status.message) == (
            "SysctlForbidden",
            'Pod was rejected: forbidden sysctl: "kernel.msgmax" not allowlisted',
        )


def pods_of(rows: Iterable[Seen], image: str, root: Path) -> list[core.Pod]:
    """Rows that ask the same of their pod are containers of one. ``ROOT`` in a row is a folder of the test's own."""
    found: dict[str, core.Pod] = {}
    for row in rows:
        pod = pod_of(replace(row, pod=row.pod.replace("ROOT", str(root)).replace("IMAGE", image)), image)
        pod.spec.containers[0].name = row.name
        known = found.setdefault(row.pod, pod)
        if known is not pod:
            known.spec.containers.append(pod.spec.containers[0])
    return list(found.values())


async def output(runtime: Runtime, pod: core.Pod, row: Seen) -> str:
    """What a row's command says in its container."""
    status = next(status for status in pod.status.container_statuses if status.name == row.name)
    session = await runtime.exec(status.container_id.partition("://")[2], ("sh", "-c", row.command), stdin=False, tty=False)
    said = b""
    async with asyncio.timeout(20):
        while (piece := await session.read()) is not None:
            said += piece[1]
    await session.close()
    return said.decode(errors="replace").strip()


def is_shown(row: Seen, text: str) -> bool:
    return re.search(row.shows, text, re.DOTALL | re.MULTILINE) is not None


@contextmanager
def folders(root: Path) -> Iterator[Path]:
    """Of the node: one with another file system mounted in it, which tells its mounts on."""
    outer = root / "outer"
    (outer / "inner").mkdir(parents=True)
    (outer / "later").mkdir()
    with opened(outer) as handle:
        bind(handle, outer)
    share(outer)
    mount_tmpfs(outer / "inner", 0o777)
    try:
        yield root
    finally:
        unmount_all(root)


@pytest.mark.docker
async def test_what_a_field_says_is_so_in_the_container(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path / "kubelet") as cluster:
        (tmp_path / "content").write_bytes(b"first\n".ljust(1 << 20, b"\0"))
        with folders(tmp_path / "node") as root, loop_device(tmp_path / "content") as device:
            volume = disk("disk", host_path=core.HostPathVolumeSource(path=str(device)))
            volume.spec.volume_mode = "Block"
            cluster.api.seed(bound("disk"), volume)
            for obj in (core.ConfigMap(data={"k": "v\n"}), core.Secret(data={"p": b"hidden\n"})):
                obj.metadata.name, obj.metadata.namespace = ("m" if isinstance(obj, core.ConfigMap) else "s"), "default"
                await cluster.client.create(obj)
            made = pods_of(FIELDS, image, root)
            for pod in made:
                await cluster.client.create(pod)
            profile = tmp_path / "kubelet" / "seccomp" / "deep" / "p.json"
            profile.parent.mkdir(parents=True)
            profile.write_text(json.dumps(PROFILE))
            ready = [await cluster.ready(pod.metadata.name) for pod in made]
            holders = {status.name: pod for pod in ready for status in pod.status.container_statuses}
            users = {status.name: status.user.linux for pod in ready for status in pod.status.container_statuses}
            assert (users["strict-groups"].uid, list(users["strict-groups"].supplemental_groups)) == (1500, [1501, 3000])
            told = await asyncio.gather(*(output(runtime, holders[row.name], row) for row in FIELDS))
            assert not {row.name: text for row, text in zip(FIELDS, told, strict=True) if not is_shown(row, text)}
            await _changes_are_seen(cluster, runtime, holders, root)
            for pod in made:
                await cluster.client.delete(core.Pod, pod.metadata.name, "default", grace_period_seconds=0)
            await cluster.until(lambda: not runtime.observed() and not cluster.kubelet.manager.workers)
        assert not mounts_below(tmp_path)


async def _changes_are_seen(cluster: Cluster, runtime: Runtime, holders: Mapping[str, core.Pod], root: Path) -> None:
    """What is told a running container later: labels and objects that change, mounts of the node."""
    pod = await cluster.client.get(core.Pod, holders["follows"].metadata.name, "default")
    pod.metadata.labels["tier"] = "back"
    await cluster.client.update(pod)
    config = await cluster.client.get(core.ConfigMap, "m", "default")
    config.data["k"] = "w"
    await cluster.client.update(config)
    mount_tmpfs(root / "outer" / "later", 0o777)
    (root / "outer" / "later" / "new").touch()
    for row in LATER:
        async with asyncio.timeout(2):
            while not is_shown(row, await output(runtime, holders[row.name], row)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
