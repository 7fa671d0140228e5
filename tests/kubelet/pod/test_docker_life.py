"""A life with rules of its own, on a real engine: keys of files, a host name, a pod that starts anew, a stop signal."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.objects.copies import copy_of
from tests.kubelet.docker_support import docker
from tests.kubelet.pod.test_docker_pods import manifest
from tests.kubelet.support import running

pytestmark = pytest.mark.docker

MANIFEST = """
metadata: {name: web, namespace: default}
spec:
  nodeName: NODE
  os: {name: linux}
  hostnameOverride: db.corp.example
  restartPolicy: Never
  terminationGracePeriodSeconds: 20
  initContainers:
  - name: first
    image: IMAGE
    command: [sh, -c, "echo \\"FROM='init   it'\\" > /shared/env; echo x >> /shared/inits"]
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: app
    image: IMAGE
    command: [sh, -c, "trap 'exit 42' USR1; echo \\"$FROM, $(hostname)\\" >> /shared/said; sleep 1000 & wait"]
    env: [{name: FROM, valueFrom: {fileKeyRef: {volumeName: shared, path: env, key: FROM}}}]
    lifecycle: {stopSignal: SIGUSR1}
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: trigger
    image: IMAGE
    command:
    - sh
    - -c
    - "trap 'exit 0' TERM; while [ -e /shared/again ] || ! [ -e /shared/go ]; do sleep 0.1; done; echo > /shared/again; exit 7"
    restartPolicy: Never
    restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [7]}}]
    volumeMounts: [{name: shared, mountPath: /shared}]
  volumes: [{name: shared, emptyDir: {}}]
"""


async def test_a_pod_starts_anew_and_ends_by_its_own_signal(tmp_path: Path) -> None:
    async with docker() as (runtime, _, image), running(runtime, tmp_path) as cluster:
        await cluster.client.create(manifest(MANIFEST, image))
        before = await cluster.ready()
        assert before.status.container_statuses[0].stop_signal == "SIGUSR1"
        (worker,) = cluster.kubelet.manager.all()
        shared = worker.volume_path("shared")
        (shared / "go").touch()
        await cluster.until(lambda: (p := cluster.pod()) is not None and p.status.container_statuses[0].restart_count == 1)
        after = await cluster.ready()
        assert [entry.restart_count for entry in (*after.status.init_container_statuses, *after.status.container_statuses)] == [1, 1, 1]
        assert after.status.pod_ip == before.status.pod_ip
        assert (shared / "inits").read_text() == "x\nx\n"
        await cluster.until(lambda: (shared / "said").read_text() == "init   it, db.corp.example\n" * 2)
        ending = copy_of(after)
        ending.spec.active_deadline_seconds = 1
        await cluster.client.update(ending)
        pod = await cluster.phase("Failed")
        assert (pod.status.reason, pod.status.container_statuses[0].state.terminated.exit_code) == ("DeadlineExceeded", 42)
