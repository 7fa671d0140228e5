"""Golden plans: a pod and what it refers to in; what the runtime is asked for, and what the engines are sent, out.

``plans/<name>.input.yaml`` holds the pod and the objects it refers to, ``<name>.output.yaml`` the sandbox and each container with what the
Docker engine is sent, or why it cannot be made, ``<name>.cri.txt`` what an engine that speaks CRI is sent; ``pytest --rewrite`` writes the
outputs anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import codec
from knarr.objects.pods import init_and_main_containers
from services.kubelet.container.inputs import ConfigError, ContainerInputs
from services.kubelet.container.plan import container_plan
from services.kubelet.node.view import NodeView
from services.kubelet.pod.directory import PodDirectory
from services.kubelet.pod.references import References
from services.kubelet.pod.sandbox_plan import sandbox_plan
from services.kubelet.pod.spec import ref_of
from services.kubelet.runtime.cri.configs import container_request, sandbox_config
from services.kubelet.runtime.docker.bodies import NO_NETWORK, container_body, container_name, sandbox_body, sandbox_name
from services.kubelet.runtime.docker.settings import DockerSettings
from services.kubelet.runtime.labels import CLUSTER, NODE
from services.kubelet.runtime.plan import ContainerPlan, SandboxPlan
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


def container_plans(pod: core.Pod, references: References) -> Iterator[tuple[str, ContainerPlan | str]]:
    """The plan of each container by its name, or why there is none."""
    directory = PodDirectory(Path("/var/lib/knarr/kubelet"), pod.metadata.uid)
    made = Sandbox("sandbox-id", ref_of(pod), 0, True, "" if pod.spec.host_network else POD_IP)
    for spec in init_and_main_containers(pod.spec):
        try:
            inputs = ContainerInputs(pod, spec, 2, made, Image("image-id", spec.image, "root"), references, VIEW, directory)
            yield spec.name, container_plan(inputs)
        except ConfigError as error:
            yield spec.name, str(error)


def planned(pod: core.Pod, references: References) -> dict[str, Any]:
    """What is made of a pod by whom it is sent to."""
    sandbox = sandbox_plan(pod, 0, "cluster.local")
    ip = "" if pod.spec.host_network else POD_IP
    containers: dict[str, Any] = {}
    for name, plan in container_plans(pod, references):
        if isinstance(plan, str):
            containers[name] = {"refused": plan}
            continue
        body = container_body(plan, "image-id", DOCKER, OWN)
        containers[name] = {"plan": plain(plan), "name": container_name(plan), "body": body}
    body = sandbox_body(sandbox, ip, "pause", NO_NETWORK, OWN)
    return {"sandbox": {"plan": plain(sandbox), "name": sandbox_name(sandbox.pod, 0), "body": body}, "containers": containers}


def plain(plan: SandboxPlan | ContainerPlan) -> Any:
    """A plan as YAML can write it."""
    return json.loads(json.dumps(asdict(plan)))


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.input.yaml")), ids=lambda path: path.name.split(".")[0])
def test_what_the_engine_is_sent(path: Path) -> None:
    found = planned(*load(path))
    golden.check(path.with_name(path.name.replace(".input.", ".output.")), yaml.safe_dump(found, width=140))


@pytest.mark.parametrize("path", sorted(PLANS.glob("*.input.yaml")), ids=lambda path: path.name.split(".")[0])
def test_what_an_engine_of_cri_is_sent(path: Path) -> None:
    pod, references = load(path)
    logs, sandbox = Path("/var/log/pods"), sandbox_plan(pod, 0, "cluster.local")
    lines = [f"sandbox {{\n{text_format.MessageToString(sandbox_config(sandbox, logs, OWN), indent=2)}}}\n"]
    for name, plan in container_plans(pod, references):
        if isinstance(plan, ContainerPlan):
            request = container_request(plan, Image("image-id", plan.image, "root"), sandbox.hostname, logs, OWN)
            lines.append(f"{name} {{\n{text_format.MessageToString(request, indent=2)}}}\n")
    golden.check(path.with_name(path.name.replace(".input.yaml", ".cri.txt")), "".join(lines))
