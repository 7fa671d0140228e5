"""Pods from files of the node: what a file must be, how a folder is followed, and the mirrors by which the API shows them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.errors import status_error
from knarr.objects.copies import copy_of
from services.kubelet.node import static_pods
from services.kubelet.node.manifests import BadManifest, static_pod
from services.kubelet.node.mirrors import MirrorKeeper
from services.kubelet.node.static_pods import StaticPods
from services.kubelet.pod.critical import is_critical
from services.kubelet.runtime.hollow import HollowRuntime
from services.kubelet.runtime.port import RUNNING
from tests.kubelet.support import NODE, Cluster, condition, make_pod, running, until
from tests.support.api import FaultyApi

CIDR = "10.244.0.0/24"
MIRROR = "kubernetes.io/config.mirror"
TEXT = """apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {app: web}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - {name: app, image: "app:1"}
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_pods, "LOOK_SECONDS", 0.01)


def test_a_file_becomes_a_pod_of_the_nodes_own() -> None:
    pod = static_pod(TEXT.encode(), "/m/web.yaml", "Node-1")
    assert (pod.metadata.namespace, pod.metadata.name, pod.spec.node_name) == ("default", "web-node-1", "Node-1")
    assert len(pod.metadata.uid) == 32
    assert dict(pod.metadata.annotations) == {"kubernetes.io/config.hash": pod.metadata.uid, "kubernetes.io/config.source": "file"}
    assert [(found.operator, found.effect) for found in pod.spec.tolerations] == [("Exists", "NoExecute")]
    assert static_pod(TEXT.encode(), "/m/web.yaml", "Node-1") == pod
    other = TEXT.replace("app:1", "app:2")
    told = ((other, "/m/web.yaml", "Node-1"), (TEXT, "/m/x", "Node-1"), (TEXT, "/m/web.yaml", "b"))
    others = {static_pod(text.encode(), file, node).metadata.uid for text, file, node in told}
    assert len(others | {pod.metadata.uid}) == 4


def test_json_is_yaml_too() -> None:
    spec = {"containers": [{"name": "a", "image": "i"}]}
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "kube-system"}, "spec": spec})
    assert static_pod(text.encode(), "f", "n").metadata.namespace == "kube-system"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 documents"),
        (TEXT + "---\n" + TEXT, "has 2 documents"),
        (TEXT.replace("kind: Pod", "kind: Deployment"), "only v1 Pod can be run"),
        (TEXT.replace("name: web\n", "name: WEB_\n"), "metadata.name: WEB_-n: a lowercase RFC 1123 subdomain"),
        (TEXT.replace('{name: app, image: "app:1"}', "{name: app}"), "image: Required value"),
        (TEXT.replace("{name: app,", "{name: a_b,"), "a lowercase RFC 1123 label"),
        (TEXT + '  - {name: app, image: "b"}\n', "Duplicate value"),
        (TEXT.split("  containers")[0], "spec.containers: Required value"),
        (TEXT.replace("spec:\n", "spec:\n  serviceAccountName: admin\n"), "static pods may not reference serviceaccounts"),
        (TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v, secret: {secretName: s}}]\n"), "static pods may not reference secrets"),
        (TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v, configMap: {name: s}}]\n"), "static pods may not reference configmaps"),
        (TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v, persistentVolumeClaim: {claimName: s}}]\n"), "persistentvolumeclaims"),
        (TEXT.replace("labels: {app: web}", f"annotations: {{{MIRROR}: x}}"), "is what the kubelet sets"),
        (TEXT.replace("labels: {app: web}", 'namespace: "../x"'), "metadata.namespace: '../x': a lowercase RFC 1123 label"),
        (TEXT.replace("spec:\n", "spec:\n  volumes: [{name: .., emptyDir: {}}]\n"), "volume '..': name: a lowercase RFC 1123 label"),
        (
            TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v, emptyDir: {}}, {name: v, emptyDir: {}}]\n"),
            "volume 'v': name: Duplicate value",
        ),
        (
            TEXT.replace("spec:\n", "spec:\n  restartPolicy: Sometimes\n"),
            "spec.restartPolicy: 'Sometimes' is none of Always, OnFailure, Never",
        ),
        (
            TEXT.replace("terminationGracePeriodSeconds: 5", "activeDeadlineSeconds: 9223372036854775807"),
            "spec.activeDeadlineSeconds: Invalid",
        ),
        (
            TEXT.replace("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: -5"),
            "spec.terminationGracePeriodSeconds: Invalid",
        ),
        (TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v}]\n"), "spec.volumes[0]: Required value: must specify a volume type"),
        (
            TEXT.replace("spec:\n", "spec:\n  volumes: [{name: v, emptyDir: {}, hostPath: {path: /}}]\n"),
            "may not specify more than 1 volume",
        ),
        *(
            (TEXT.replace('image: "app:1"', f'image: "app:1", {more}'), f"spec.containers[0].{words}")
            for more, words in (
                ("volumeMounts: [{name: v, mountPath: /v}]", 'volumeMounts[0].name: Not found: "v"'),
                ("ports: [{containerPort: 70000}]", "ports[0].containerPort: Invalid value: 70000"),
                ("env: [{value: a}]", "env[0].name: Required value"),
                ("livenessProbe: {periodSeconds: 1}", "livenessProbe: Required value: must specify a handler type"),
                ("livenessProbe: {periodSeconds: -1, exec: {command: [a]}}", "livenessProbe.periodSeconds: Invalid value: -1"),
                ("livenessProbe: {tcpSocket: {port: 0}}", "livenessProbe.tcpSocket.port: Invalid value: 0"),
                ("lifecycle: {preStop: {exec: {command: [a]}, sleep: {seconds: 1}}}", "lifecycle.preStop.sleep: Forbidden"),
                ("resources: {limits: {memory: -1}}", 'resources.limits[memory]: Invalid value: "-1"'),
                ("imagePullPolicy: Sometimes", 'imagePullPolicy: Unsupported value: "Sometimes"'),
            )
        ),
        (
            TEXT + "  initContainers: [{name: i, image: i, readinessProbe: {exec: {command: [a]}}}]\n",
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers",
        ),
        ("{", "yaml: "),
        ("\0", "yaml: "),
        (TEXT.replace("spec:", "spec: ["), "yaml: "),
        (TEXT.replace("terminationGracePeriodSeconds: 5", "terminationGracePeriodSeconds: five"), "terminationGracePeriodSeconds"),
    ],
)
def test_what_is_no_pod_for_a_node_says_why(text: str, words: str) -> None:
    with pytest.raises(BadManifest) as raised:
        static_pod(text.encode(), "f", "n")
    assert words in str(raised.value)


async def test_a_folder_is_followed(tmp_path: Path) -> None:
    folder, said, told = tmp_path / "later", list[str](), list[tuple[str, str]]()
    statics = StaticPods(folder, "n", said.append)
    statics.on_change(lambda old, new: told.append((old.metadata.name if old else "", new.metadata.name if new else "")))
    task = asyncio.create_task(statics.run())
    try:
        await statics.read.wait()
        folder.mkdir()
        (folder / ".hidden.yaml").write_text(TEXT)
        (folder / "inner").mkdir()
        (folder / "around.yaml").symlink_to("around.yaml")
        (folder / "nowhere.yaml").symlink_to("none")
        os.mkfifo(folder / "pipe.yaml")
        (folder / "bad.yaml").write_text("kind: Pod")
        (folder / "a.yaml").write_text(TEXT)
        await until(lambda: told == [("", "web-n")] and len(said) == 1)
        assert said[0].startswith(f"Static pod file {folder}/bad.yaml: apiVersion None, kind Pod")
        (folder / "b.yaml").write_text(TEXT)
        await until(lambda: any("b.yaml: another file describes the pod default/web-n already" in words for words in said))
        # What is no pod any more changes nothing about what runs, what is another pod does.
        (folder / "a.yaml").write_text("{")
        await until(lambda: any("a.yaml: " in words and "yaml: " in words.partition("a.yaml: ")[2] for words in said))
        assert len(told) == 1
        new = folder / ".new"
        new.write_text(TEXT.replace("app:1", "app:2"))
        new.rename(folder / "a.yaml")
        await until(lambda: told[1:] == [("web-n", "web-n")])
        (folder / "b.yaml").unlink()
        (folder / "a.yaml").unlink()
        await until(lambda: told[2:] == [("web-n", "")])
        assert not statics.pods
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_file_may_be_given_too(tmp_path: Path) -> None:
    path = tmp_path / "web.yaml"
    path.write_text(TEXT)
    statics = StaticPods(path, "n", lambda words: None)
    task = asyncio.create_task(statics.run())
    await statics.read.wait()
    assert [pod.metadata.name for pod in statics.pods.values()] == ["web-n"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def laid(tmp_path: Path, text: str = TEXT) -> dict[str, Any]:
    """The settings of a kubelet with one static pod."""
    folder = tmp_path / "manifests"
    folder.mkdir(exist_ok=True)
    (folder / "web.yaml").write_text(text)
    return {"manifest_path": folder}


def mirror(cluster: Cluster) -> core.Pod | None:
    return cluster.pod(f"web-{NODE}")


async def test_a_static_pod_runs_and_a_mirror_shows_it(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path / "data", **laid(tmp_path)) as cluster:
        pod = await cluster.ready(f"web-{NODE}")
        annotations = pod.metadata.annotations
        assert annotations[MIRROR] == annotations["kubernetes.io/config.hash"] != pod.metadata.uid
        assert annotations["kubernetes.io/config.source"] == "file"
        (owner,) = pod.metadata.owner_references
        assert (owner.kind, owner.name, owner.controller, owner.block_owner_deletion) == ("Node", NODE, True, False)
        assert dict(pod.metadata.labels) == {"app": "web"}
        # Nothing is run for the mirror itself.
        assert list(runtime.observed()) == [annotations[MIRROR]]
        assert [found.pod.metadata.name for found in cluster.kubelet.manager.all()] == [f"web-{NODE}"]


async def test_one_that_the_api_refuses_hides_none_but_itself(tmp_path: Path) -> None:
    settings = laid(tmp_path)
    unlike = TEXT.replace("name: web\n", "name: a\n").replace("{app: web}", "{app: a b}")
    assert unlike.count("a b") == 1
    # The first that is made, by its name.
    (settings["manifest_path"] / "a.yaml").write_text(unlike)
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path / "data", **settings) as cluster:
        await cluster.ready(f"web-{NODE}")
        assert len(runtime.observed()) == 2 and cluster.pod(f"a-{NODE}") is None


async def test_a_mirror_that_is_deleted_comes_again_and_its_pod_runs_on(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path / "data", **laid(tmp_path)) as cluster:
        before = await cluster.ready(f"web-{NODE}")
        await cluster.client.delete(core.Pod, before.metadata.name, "default")
        await cluster.until(lambda: (p := mirror(cluster)) is not None and p.metadata.uid != before.metadata.uid)
        after = await cluster.ready(f"web-{NODE}")
        (was,), (now,) = before.status.container_statuses, after.status.container_statuses
        assert (was.container_id, now.restart_count) == (now.container_id, 0)


async def test_a_changed_file_is_another_pod_and_a_removed_one_none(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path / "data", **laid(tmp_path)) as cluster:
        before = (await cluster.ready(f"web-{NODE}")).metadata.annotations[MIRROR]
        laid(tmp_path, TEXT.replace("app:1", "app:2"))
        await cluster.until(lambda: (p := mirror(cluster)) is not None and p.metadata.annotations[MIRROR] != before)
        pod = await cluster.ready(f"web-{NODE}")
        assert pod.spec.containers[0].image == "app:2"
        await cluster.until(lambda: list(runtime.observed()) == [pod.metadata.annotations[MIRROR]])
        (tmp_path / "manifests" / "web.yaml").unlink()
        await cluster.until(lambda: mirror(cluster) is None and not runtime.observed())


async def test_static_pods_run_while_the_api_is_away_and_are_shown_when_it_comes(tmp_path: Path) -> None:
    runtime, api = HollowRuntime(CIDR), FaultyApi()
    api.fail_next(status_error("ServiceUnavailable", "away"), times=1_000_000)
    async with running(runtime, tmp_path / "data", api, wait=False, **laid(tmp_path)) as cluster:
        await until(lambda: any(c.state == RUNNING for found in runtime.observed().values() for c in found.containers))
        assert mirror(cluster) is None
        api.heal()
        pod = await cluster.ready(f"web-{NODE}")
        assert list(runtime.observed()) == [pod.metadata.annotations[MIRROR]]


async def test_a_kubelet_that_comes_anew_goes_on_with_what_runs_and_ends_what_it_no_longer_has(tmp_path: Path) -> None:
    runtime, api = HollowRuntime(CIDR), FaultyApi()
    async with running(runtime, tmp_path / "data", api, **laid(tmp_path)) as cluster:
        before = await cluster.ready(f"web-{NODE}")
    async with running(runtime, tmp_path / "data", api, **laid(tmp_path)) as cluster:
        after = await cluster.ready(f"web-{NODE}")
        assert [c.container_id for c in after.status.container_statuses] == [c.container_id for c in before.status.container_statuses]
    changed = laid(tmp_path, TEXT.replace("app:1", "app:2"))
    async with running(runtime, tmp_path / "data", api, **changed) as cluster:
        await cluster.until(lambda: list(runtime.observed()) not in ([], [before.metadata.annotations[MIRROR]]))
        await cluster.until(lambda: (p := mirror(cluster)) is not None and p.spec.containers[0].image == "app:2")
        await cluster.until(lambda: condition(mirror(cluster), "Ready") == "True" and len(runtime.observed()) == 1)


async def test_files_that_are_no_pods_are_named_in_an_event(tmp_path: Path) -> None:
    async with running(HollowRuntime(CIDR), tmp_path / "data", **laid(tmp_path, "kind: Pod")) as cluster:
        await cluster.until(lambda: cluster.events("FailedValidation"))
        (event,) = [found for found in cluster.api.all(core.Event) if found.reason == "FailedValidation"]
        assert (event.involved_object.kind, event.involved_object.name) == ("Node", NODE)
        assert f"Static pod file {tmp_path}/manifests/web.yaml: apiVersion None, kind Pod: only v1 Pod can be run" == event.message


async def test_somebodys_pod_of_the_same_name_is_left_alone(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    api = FaultyApi()
    theirs = await api.client().create(make_pod(f"web-{NODE}"))
    async with running(runtime, tmp_path / "data", api, **laid(tmp_path)) as cluster:
        await cluster.until(lambda: len(runtime.observed()) >= 1)
        found = mirror(cluster)
        assert found is not None and found.metadata.uid == theirs.metadata.uid and copy_of(found).spec == theirs.spec


async def test_a_pod_of_the_api_is_not_the_nodes_own_whatever_it_says(tmp_path: Path) -> None:
    runtime = HollowRuntime(CIDR)
    async with running(runtime, tmp_path / "data", **laid(tmp_path)) as cluster:
        liar = make_pod("liar")
        for name, value in (("source", "file"), ("hash", "x")):
            liar.metadata.annotations[f"kubernetes.io/config.{name}"] = value
        await cluster.client.create(liar)
        pod = await cluster.ready("liar")
        (worker,) = [found for found in cluster.kubelet.manager.all() if found.pod.metadata.name == "liar"]
        assert not is_critical(worker.pod)
        pod.metadata.annotations["kubernetes.io/config.hash"] = pod.metadata.uid
        await cluster.client.update(pod)
        await cluster.until(lambda: worker.pod.metadata.annotations["kubernetes.io/config.hash"] == pod.metadata.uid)
        assert not is_critical(worker.pod)
        await cluster.client.delete(core.Pod, "liar", "default")
        await cluster.until(lambda: cluster.pod("liar") is None)


async def test_pods_that_are_no_mirrors_are_no_reason_to_look_for_mirrors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    keep = MirrorKeeper._keep

    async def counted(self: MirrorKeeper) -> bool:
        nonlocal looks
        looks += 1
        return await keep(self)

    monkeypatch.setattr(MirrorKeeper, "_keep", counted)
    async with running(HollowRuntime(CIDR), tmp_path) as cluster:
        await cluster.client.create(make_pod("web"))
        await cluster.ready("web")
        await cluster.client.delete(core.Pod, "web", "default", grace_period_seconds=0)
        await cluster.until(lambda: cluster.pod("web") is None and not cluster.kubelet.manager.workers)
    assert looks == 1, "once at the start"
