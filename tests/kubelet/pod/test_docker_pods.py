"""What a manifest asks for, as a real container finds it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.machinery.errors import StatusError
from services.kubelet.node.mounts import mounts_below
from services.kubelet.runtime.port import Runtime
from services.kubelet.servicer import KubeletServicer
from tests.kubelet.containerd_support import IMAGE, cri
from tests.kubelet.docker_support import docker
from tests.kubelet.runtime.docker.test_streams import exec_ as run_in
from tests.kubelet.support import NODE, running

pytestmark = pytest.mark.docker

MANIFEST = """
metadata: {name: web, namespace: default, labels: {tier: front}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 4000}
  initContainers:
  - name: first
    image: IMAGE
    command: [sh, -c, "echo made by init > /shared/file"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c, "echo $(GREETING); exec sleep 1000"]
    workingDir: /tmp
    env:
    - {name: WHO, value: world}
    - {name: GREETING, value: "hello $(WHO) $$(WHO) $(MISSING)"}
    - {name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: TOKEN, valueFrom: {secretKeyRef: {name: keys, key: token}}}
    envFrom: [{prefix: CM_, configMapRef: {name: settings}}]
    resources: {requests: {cpu: 250m, memory: 16Mi}, limits: {cpu: 500m, memory: 32Mi}}
    securityContext: {runAsUser: 1000, runAsGroup: 3000, readOnlyRootFilesystem: true}
    readinessProbe: {exec: {command: [cat, /shared/file]}, periodSeconds: 1}
    volumeMounts:
    - {name: shared, mountPath: /shared}
    - {name: settings, mountPath: /settings}
    - {name: about, mountPath: /about}
  volumes:
  - {name: shared, emptyDir: {}}
  - {name: settings, configMap: {name: settings}}
  - name: about
    projected:
      sources:
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - secret: {name: keys, items: [{key: token, path: deep/token, mode: 0440}]}
"""


def manifest(text: str, image: str) -> core.Pod:
    found = yaml.safe_load(text.replace("IMAGE", image).replace("NODE", NODE, 1))
    return codec.from_json(core.Pod, {"apiVersion": "v1", "kind": "Pod", **found}).message


@asynccontextmanager
async def an_engine(name: str, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Runtime, str]]:
    """A runtime on an engine of that name, and an image that is there."""
    if name == "docker":
        async with docker() as (runtime, _, image):
            yield runtime, image
        return
    async with cri(request.getfixturevalue("own_containerd")) as (other, _):
        yield other, IMAGE


@pytest.mark.parametrize("engine", ["docker", "containerd"])
async def test_a_pod_finds_what_its_manifest_promises(engine: str, folder: Path, request: pytest.FixtureRequest) -> None:
    async with an_engine(engine, request) as (runtime, image), running(runtime, folder) as cluster:
        servicer = KubeletServicer(cluster.kubelet.manager, runtime, cluster.kubelet.stats)
        config = core.ConfigMap(data={"color": "blue"})
        config.metadata.name, config.metadata.namespace = "settings", "default"
        secret = core.Secret(data={"token": b"s3cret"})
        secret.metadata.name, secret.metadata.namespace = "keys", "default"
        service = core.Service()
        service.metadata.name, service.metadata.namespace = "my-db", "default"
        service.spec.cluster_ip = "10.96.0.77"
        service.spec.ports.add(name="sql", port=5432, protocol="TCP")
        for obj in (config, secret, service):
            await cluster.client.create(obj)
        await cluster.client.create(manifest(MANIFEST, image))
        pod = await cluster.ready()
        assert pod.status.init_container_statuses[0].state.terminated.reason == "Completed"
        out, _, _ = await run_in(
            servicer,
            "sh",
            "-c",
            "for v in GREETING NODE_NAME POD_IP LIMIT COLOR TOKEN CM_color MY_DB_SERVICE_PORT_SQL; "
            "do eval echo $v=\\$$v; done; pwd; id -u; id -g; cat /shared/file /settings/color /about/labels /about/deep/token",
        )
        assert out.decode().splitlines() == [
            "GREETING=hello world $(WHO) $(MISSING)",
            f"NODE_NAME={NODE}",
            f"POD_IP={pod.status.pod_ip}",
            "LIMIT=32",
            "COLOR=blue",
            "TOKEN=s3cret",
            "CM_color=blue",
            "MY_DB_SERVICE_PORT_SQL=5432",
            "/tmp",
            "1000",
            "3000",
            "made by init",
            'bluetier="front"s3cret',
        ]
        _, _, refused = await run_in(servicer, "sh", "-c", "echo x > /etc/x")
        assert refused.status == "Failure"
        fresh = core.ConfigMap()
        fresh.CopyFrom(cluster.api.all(core.ConfigMap)[0])
        fresh.data["color"] = "green"
        await cluster.client.update(fresh)
        async with asyncio.timeout(10):
            while (await run_in(servicer, "cat", "/settings/color"))[0] != b"green":  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        hosts = (await run_in(servicer, "cat", "/etc/hosts"))[0].decode()
        assert f"{pod.status.pod_ip}\tweb" in hosts


SHOWING = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  initContainers: [{name: first, image: IMAGE, command: ["true"]}]
  containers:
  - name: app
    image: IMAGE
    command: [sleep, "1000"]
    volumeMounts: [{name: files, mountPath: /v}, {name: files, mountPath: /passwd, subPath: etc/passwd}]
  volumes: [{name: files, image: {reference: IMAGE, pullPolicy: Never}}]
"""


@pytest.mark.parametrize("engine", ["docker", "containerd"])
async def test_a_pod_has_an_image_as_a_volume_until_it_goes(engine: str, folder: Path, request: pytest.FixtureRequest) -> None:
    async with an_engine(engine, request) as (runtime, image):
        async with running(runtime, folder) as cluster:
            servicer = KubeletServicer(cluster.kubelet.manager, runtime, cluster.kubelet.stats)
            await cluster.client.create(manifest(SHOWING, image))
            (told,) = [found for found in (await cluster.ready()).status.container_statuses[0].volume_mounts if found.mount_path == "/v"]
            assert told.volume_status.image.image_ref
            script = "ls /v/bin/busybox; cat /passwd; echo x > /v/x || echo closed; /v/bin/busybox true || echo inert; ls -ld /v/tmp"
            said = (await run_in(servicer, "sh", "-c", f"({script}) 2>&-"))[0].decode()
            assert re.search(r"^/v/bin/busybox\n.*app:x:1500.*closed\ninert\ndrwxrwxrwx", said, re.DOTALL), said
            (laid,) = (folder / "image-volumes").iterdir()
        # The next kubelet finds what this one laid.
        async with running(runtime, folder, cluster.api) as cluster:
            await cluster.ready()
            assert (laid / "bin" / "busybox").exists()
            await cluster.client.delete(core.Pod, "web", "default")
            await cluster.until(lambda: not cluster.kubelet.manager.workers)
            assert not list((folder / "image-volumes").iterdir()) and not mounts_below(folder)
            assert await runtime.hide_images(()) == []


async def test_a_missing_config_map_is_told_and_waited_for(tmp_path: Path) -> None:
    text = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - {name: app, image: IMAGE, command: [sleep, "1000"], env: [{name: A, valueFrom: {configMapKeyRef: {name: late, key: a}}}]}
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(text, image))
        await cluster.until(
            lambda: (
                (p := cluster.pod())
                and p.status.container_statuses
                and p.status.container_statuses[0].state.waiting.reason == "CreateContainerConfigError"
            )
        )
        assert cluster.pod().status.container_statuses[0].state.waiting.message == 'configmap "late" not found'  # type: ignore[union-attr]
        config = core.ConfigMap(data={"a": "b"})
        config.metadata.name, config.metadata.namespace = "late", "default"
        await cluster.client.create(config)
        await cluster.ready()


async def test_ends_gracefully_and_leaves_its_last_words(tmp_path: Path) -> None:
    text = """
metadata: {name: web, namespace: default, finalizers: [example.com/keep]}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 10
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c, "trap 'echo farewell > /dev/termination-log; exit 3' TERM; while true; do sleep 0.05; done"]
    lifecycle: {preStop: {exec: {command: [sh, -c, "echo stopping > /proc/1/fd/1"]}}}
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(text, image))
        await cluster.ready()
        started = asyncio.get_running_loop().time()
        await cluster.client.delete(core.Pod, "web", "default")
        await cluster.until(lambda: not runtime.observed())
        assert asyncio.get_running_loop().time() - started < 8
        terminated = (await cluster.phase("Failed")).status.container_statuses[0].state.terminated
        assert (terminated.exit_code, terminated.message, terminated.reason) == (3, "farewell\n", "Error")


async def test_a_failing_liveness_probe_restarts_and_http_makes_ready(tmp_path: Path) -> None:
    text = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c, "mkdir -p /www; echo ok > /www/index.html; exec httpd -f -p 8080 -h /www"]
    ports: [{name: http, containerPort: 8080}]
    readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
    livenessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1}
    startupProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        servicer = KubeletServicer(cluster.kubelet.manager, runtime, cluster.kubelet.stats)
        await cluster.client.create(manifest(text.replace("mkdir -p", "busybox mkdir -p"), image))
        await cluster.ready()
        await run_in(servicer, "busybox", "rm", "/www/index.html")
        await cluster.until(lambda: (p := cluster.pod()) and p.status.container_statuses[0].restart_count == 1)
        await cluster.until(lambda: "Container app failed liveness probe, will be restarted" in cluster.events("Killing"))
        assert any("HTTP probe failed with statuscode: 404" in words for words in cluster.events("Unhealthy"))


@pytest.mark.parametrize("shared", [True, False])
async def test_a_shared_process_namespace_is_the_sandboxes(tmp_path: Path, shared: bool) -> None:
    text = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  restartPolicy: Never
  shareProcessNamespace: SHARED
  containers: [{name: app, image: IMAGE, command: [sh, -c, "echo $$$$ > /dev/termination-log"]}]
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(text.replace("SHARED", str(shared).lower()), image))
        terminated = (await cluster.phase("Succeeded")).status.container_statuses[0].state.terminated
        assert (int(terminated.message) == 1) is not shared


async def test_a_capability_that_the_machine_lacks_is_told_with_what_to_do(tmp_path: Path) -> None:
    text = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  restartPolicy: Never
  containers: [{name: app, image: IMAGE, command: [sleep, "1000"], securityContext: {privileged: true}}]
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(text, image))
        pod = await cluster.until(lambda: (p := cluster.pod()) is not None and p.status.phase in ("Running", "Failed") and p)
        if pod.status.phase == "Running":
            pytest.skip("this machine may run privileged containers")
        assert "securityContext.capabilities.add" in pod.status.container_statuses[0].state.terminated.message


async def test_what_cannot_run_says_why(tmp_path: Path) -> None:
    text = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  restartPolicy: Never
  containers: [{name: app, image: IMAGE, command: [/no/such/program]}]
"""
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(text, image))
        terminated = (await cluster.phase("Failed")).status.container_statuses[0].state.terminated
        assert (terminated.exit_code, terminated.reason) == (128, "StartError")
        assert "/no/such/program" in terminated.message
        with pytest.raises(StatusError):
            await cluster.client.get(core.Pod, "other", "default")
