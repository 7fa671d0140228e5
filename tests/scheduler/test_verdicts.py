"""What a plugin says of nodes, by tables of cases: facts about Kubernetes' plugins, beside the oracle, which might share a misreading.

A file of ``verdicts`` names a plugin and short names of what it says; each case has nodes, pods on them and one that waits, all in few
words (see ``_node`` and ``_pod``), and whom it refuses and what it gives the nodes. Whoever is not refused is accepted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.machinery import codec
from knarr.machinery.validation import Path as Where
from services.scheduler.catalog import PLUGINS
from services.scheduler.configuration.decoding import Problems, decode
from services.scheduler.filtering import judged
from services.scheduler.plugin import Plugin
from services.scheduler.pod_facts import PodFacts
from tests.scheduler.clusters import table_of
from tests.scheduler.objects import Objects

FILES = Path(__file__).parent / "verdicts"
BY_NAME = {plugin.name: plugin for plugin in PLUGINS}
KINDS: Mapping[str, Any] = {
    kind.DESCRIPTOR.name: kind
    for kind in (
        *(core.Service, core.Namespace, core.PersistentVolume, core.PersistentVolumeClaim),
        *(storage.StorageClass, storage.CSINode, storage.CSIDriver, storage.CSIStorageCapacity),
        *(resource.DeviceClass, resource.ResourceSlice, resource.ResourceClaim),
    )
}
OPERATORS = ("required", "preferred", "near", "away", "like", "dislike", "spread")


def cases() -> Iterator[Any]:
    for path in sorted(FILES.glob("*.yaml")):
        found = yaml.safe_load(path.read_text())
        for case in found["cases"]:
            yield pytest.param(found, case, id=f"{path.stem}: {case['name']}")


def _message(kind: Any, found: Mapping[str, Any]) -> Any:
    return codec.from_json(kind, dict(found), codec.UnknownFields.REJECT).message


def _node(name: str, told: Mapping[str, Any]) -> core.Node:
    """``labels``, ``taints``, ``allocatable``, and ``images`` as pairs of a name and bytes."""
    images = [{"names": [image], "sizeBytes": size} for image, size in told.get("images", ())]
    status = {"allocatable": told.get("allocatable", {"cpu": "4", "memory": "8Gi", "pods": "110"}), "images": images}
    labels = {"kubernetes.io/hostname": name, **told.get("labels", {})}
    found: core.Node = _message(
        core.Node, {"metadata": {"name": name, "labels": labels}, "spec": {"taints": told.get("taints", [])}, "status": status}
    )
    return found


def _pod(name: str, told: Mapping[str, Any]) -> core.Pod:
    """``labels``, ``annotations``, ``namespace``, ``spec``; amounts of its one container by their names, ``init`` containers, ``images``,
    ``ports``, ``claims`` to volumes and to ``devices``, and what it asks of nodes and other pods (``OPERATORS``)."""
    amounts = {key: value for key, value in told.items() if key in ("cpu", "memory", "ephemeral-storage") or "/" in key}
    images = told.get("images", ["busybox"])
    beside = {"resources": {"requests": amounts}, "ports": _ports(told)}
    containers = [{"name": f"c{at}", "image": image, **beside} for at, image in enumerate(images)]
    spec: dict[str, Any] = {"containers": containers, **told.get("spec", {})}
    spec["initContainers"] = [_init(f"i{at}", one) for at, one in enumerate(told.get("init", ()))]
    if "claims" in told:
        spec["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in told["claims"]]
    if "devices" in told:
        spec["resourceClaims"] = [{"name": name, "resourceClaimName": name} for name in told["devices"]]
    if affinity := _affinity(told):
        spec["affinity"] = affinity
    spec["topologySpreadConstraints"] = [_spread(*one) for one in told.get("spread", ())]
    metadata = {"name": name, "uid": f"uid-{name}", "namespace": told.get("namespace", "default")}
    metadata |= {key: told[key] for key in ("labels", "annotations") if key in told}
    if told.get("ending"):
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    found: core.Pod = _message(core.Pod, {"metadata": metadata, "spec": spec})
    return found


def _init(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    requests = {key: value for key, value in told.items() if key not in ("restartPolicy", "image", "ports")}
    beside = {"restartPolicy": told["restartPolicy"]} if "restartPolicy" in told else {}
    return {"name": name, "image": told.get("image", "busybox"), "ports": _ports(told), "resources": {"requests": requests}, **beside}


def _ports(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Host ports, as ``TCP/127.0.0.1/8080``; any address without one."""
    parts = [port.split("/") for port in told.get("ports", ())]
    return [{"containerPort": 80, "protocol": protocol, "hostIP": address, "hostPort": int(port)} for protocol, address, port in parts]


def _affinity(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "required" in told:
        terms = [_selector_term(term) for term in told["required"]]
        found.setdefault("nodeAffinity", {})["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if "preferred" in told:
        liked = [{"weight": weight, "preference": _selector_term(term)} for weight, *term in told["preferred"]]
        found.setdefault("nodeAffinity", {})["preferredDuringSchedulingIgnoredDuringExecution"] = liked
    for side, hard, soft in (("podAffinity", "near", "like"), ("podAntiAffinity", "away", "dislike")):
        if hard in told:
            found.setdefault(side, {})["requiredDuringSchedulingIgnoredDuringExecution"] = [_pod_term(*term) for term in told[hard]]
        if soft in told:
            terms = [{"weight": weight, "podAffinityTerm": _pod_term(*term)} for weight, *term in told[soft]]
            found.setdefault(side, {})["preferredDuringSchedulingIgnoredDuringExecution"] = terms
    return found


def _selector_term(term: Any) -> dict[str, Any]:
    made = [{"key": key, "operator": operator, "values": values} for key, operator, *values in term]
    fields = [one for one in made if one["key"] == "metadata.name"]
    return {"matchFields": fields, "matchExpressions": [one for one in made if one not in fields]}


def _pod_term(key: str, labels: Mapping[str, str] | None, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    selector = {} if labels is None else {"labelSelector": {"matchLabels": labels}}
    return {"topologyKey": key, **selector, **(beside or {})}


def _spread(skew: int, key: str, action: str, label: str, beside: Mapping[str, Any] | None = None) -> dict[str, Any]:
    selector = {"labelSelector": {"matchExpressions": [{"key": label, "operator": "Exists"}]}} if label else {}
    return {"maxSkew": skew, "topologyKey": key, "whenUnsatisfiable": action, **selector, **(beside or {})}


def _plugin(name: str, args: Mapping[str, Any] | None, objects: Objects) -> Plugin:
    kind: Any = BY_NAME[name]
    if args is None:
        return kind(objects)  # type: ignore[no-any-return]
    problems = Problems()
    found = decode(kind.Args, args, Where("args"), problems)
    problems.causes += found.problems(Where("args"))
    problems.refuse()
    return kind(objects, found)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("file", "case"), list(cases()))
def test_a_plugin_says_what_kubernetes_does(file: Any, case: Any) -> None:
    told = (*file.get("objects", ()), *case.get("objects", ()))
    objects = Objects(*(_message(KINDS[one["kind"]], {key: value for key, value in one.items() if key != "kind"}) for one in told))
    placed = [(PodFacts.of(_pod(f"p{at}", one)), one["at"]) for at, one in enumerate(case.get("placed", ()))]
    table = table_of([_node(name, one or {}) for name, one in case["nodes"].items()], placed)
    wanted = PodFacts.of(_pod("x", {**case.get("pod", {}), **{key: case[key] for key in OPERATORS if key in case}}))
    plugin = _plugin(file["plugin"], case.get("args"), objects)
    assert plugin.impossible(wanted) == case.get("impossible", "")
    refused = {}
    for one, mask in judged(table, [plugin], wanted)[1]:
        for row in np.flatnonzero(mask):
            refused[table.node(int(row)).metadata.name] = ", ".join(one.reasons(wanted, table, int(row)))
    if "impossible" not in case:
        assert refused == {name: file["words"][words] for name, words in case.get("refused", {}).items()}
    if "scores" in case:
        rows = np.array([table.rows[name] for name in case["nodes"]], np.intp)
        scores = plugin.score(wanted, table, rows)
        if scores is None:
            # It makes no difference, as if all had the same.
            assert case["scores"] == "none" or len(set(case["scores"].values())) == 1
        else:
            assert dict(zip(case["nodes"], scores.tolist(), strict=True)) == case["scores"]
