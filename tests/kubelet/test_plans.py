"""Golden plans: a pod and what it refers to in; what the runtime is asked for, and what the Docker engine is sent, out.

``plans/<name>.input.yaml`` holds the pod and the objects it refers to, ``<name>.output.yaml`` the sandbox and each container,
or why it cannot be made; ``pytest --rewrite`` writes the outputs anew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec, quantity
from services.kubelet.container.environment import ConfigError, environment
from services.kubelet.container.oom import oom_score_adj
from services.kubelet.container.plan import container_config
from services.kubelet.node.view import NodeView
from services.kubelet.pod.references import References
from services.kubelet.pod.sandbox import sandbox_config
from services.kubelet.pod.spec import all_specs
from services.kubelet.pod.volumes import PodDirectory, contents
from services.kubelet.runtime.docker.bodies import container_body, container_name, sandbox_body, sandbox_name
from services.kubelet.runtime.docker.labels import CLUSTER, NODE
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.port import Image, Sandbox
from tests.support import golden

PLANS = Path(__file__).parent / "plans"
TYPES = {"Pod": core.Pod, "ConfigMap": core.ConfigMap, "Secret": core.Secret, "Service": core.Service}
VIEW = NodeView("node-1", "192.0.2.10", {"cpu": "4", "memory": "4Gi"})
DOCKER = DockerSettings("golden", "node-1", "10.244.0.0/24")
OWN = {CLUSTER: DOCKER.cluster_id, NODE: DOCKER.node_name}
POD_IP = "10.244.0.5"


def load(path: Path) -> tuple[core.Pod, References]:
    found: dict[str, list[Any]] = {kind: [] for kind in TYPES}
    for document in yaml.safe_load_all(path.read_text()):
        obj: Any = codec.from_json(TYPES[document["kind"]], document, codec.UnknownFields.REJECT).message
        obj.metadata.namespace = obj.metadata.namespace or "default"
        found[document["kind"]].append(obj)
    pod = found["Pod"][0]
    pod.metadata.uid = f"uid-{pod.metadata.name}"
    config_maps, secrets = ({obj.metadata.name: obj for obj in found[kind]} for kind in ("ConfigMap", "Secret"))
    return pod, References(config_maps, secrets, tuple(found["Service"]))


def planned(pod: core.Pod, references: References) -> dict[str, Any]:
    """What is made of a pod by whom it is sent to."""
    directory = PodDirectory(Path("/var/lib/knarr/kubelet"), pod.metadata.uid)
    sandbox = sandbox_config(pod, 0, "cluster.local")
    ip = "" if pod.spec.host_network else POD_IP
    made = Sandbox("sandbox-id", sandbox.pod, 0, True, ip)
    containers: dict[str, Any] = {}
    for spec in all_specs(pod):
        try:
            env = environment(pod, spec, references, VIEW, ip or VIEW.ip)
            volumes = contents(pod, references, VIEW, ip or VIEW.ip)
            config = container_config(pod, spec, 2, made, env, Image("image-id", spec.image, "root"), volumes, directory)
            config = replace(config, oom_score_adj=oom_score_adj(pod, spec, quantity.value("4Gi"), -1000))
        except ConfigError as error:
            containers[spec.name] = {"refused": str(error)}
            continue
        containers[spec.name] = {"name": container_name(config), "body": container_body(config, "image-id", DOCKER, OWN)}
    body = sandbox_body(sandbox, ip, "pause", DOCKER, OWN)
    return {"sandbox": {"name": sandbox_name(sandbox.pod, 0), "body": body}, "containers": containers}


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.input.yaml")), ids=lambda path: path.name.split(".")[0])
def test_what_the_engine_is_sent(path: Path) -> None:
    found = planned(*load(path))
    golden.check(path.with_name(path.name.replace(".input.", ".output.")), yaml.safe_dump(found, sort_keys=False, width=140))
