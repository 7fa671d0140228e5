"""What Kubernetes answered to creates of the core kinds, replayed on the strategies alone.

The recording is of Kubernetes 1.20.2; where newer versions answer otherwise, NEWER says how.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from knarr.machinery.catalog import registry
from services.apiserver.strategies.service.shape import NODE_PORT_TYPES
from tests.apiserver.strategies.scenario import Subject, causes_shown

RECORDING = Path(__file__).parents[2] / "data" / "recorded-exchanges.json"
# Not of a strategy: the body cannot be decoded, a plugin of that server refused it, or an allocator does.
ELSEWHERE = frozenset(
    {
        "pod generateName",  # the pipeline makes the name
        "refused: duplicate",
        "refused: bad quantity",
        "refused: string for int",
        "refused: namespace missing",
        "refused: empty body",
        "refused: unknown field is dropped",
        "refused: node port out of range",
        "refused: bad env name",  # taken since 1.34
        "create in a terminating namespace",
        "access review",  # it is answered, and has no name
        "job",  # the pipeline makes the uid, by which it picks its pods
        "pdb",  # of a version that is served no more
        "pv",  # a plugin gives it the finalizer that protects it
    }
)
NEWER_MESSAGES = {
    # Since 1.28 the sentence says what the limit is.
    "must be less than or equal to cpu limit": "must be less than or equal to cpu limit of 1",
    # Since 1.34 values are shown as JSON.
    'map[string]string{"a":"b"}': '{"a":"b"}',
}
# Since 1.22 a Service says how it is reached from inside and over which IP families.
NEWER_SERVICE = {"internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
ALLOCATED = ("clusterIP", "clusterIPs")
# By admission, of the plugins Priority, DefaultTolerationSeconds and TaintNodesByCondition.
ADMITTED = {"Pod": ("priority", "preemptionPolicy", "tolerations"), "Node": ("taints",)}


def creates() -> list[Any]:
    found = []
    for exchange in json.loads(RECORDING.read_text()):
        request = exchange["request"]
        segments = request["path"].strip("/").split("/")
        group, version, rest = ("", segments[1], segments[2:]) if segments[0] == "api" else (segments[1], segments[2], segments[3:])
        rest = rest[2:] if rest[:1] == ["namespaces"] and len(rest) > 1 else rest
        served = registry().served(group, version, rest[0]) if len(rest) == 1 else None
        if request["method"] == "POST" and served is not None and exchange["name"] not in ELSEWHERE:
            manifest = {**request["body"], "apiVersion": served.api_version, "kind": served.kind}
            found.append(pytest.param(manifest, exchange["response"], id=exchange["name"]))
    return found


@pytest.mark.parametrize(("manifest", "response"), creates())
def test_a_recorded_create(manifest: dict[str, Any], response: dict[str, Any]) -> None:
    subject = Subject.of(manifest).created()
    causes = causes_shown(subject.causes())
    if response["status"] == 422:
        recorded = response["body"]["details"]["causes"]
        assert causes == [{**cause, "message": _newer(cause["message"])} for cause in recorded]
        return
    assert response["status"] == 201
    assert causes == []
    got, wanted = subject.shown(), response["body"]
    if subject.version.kind == "DaemonSet":
        wanted["spec"]["updateStrategy"]["rollingUpdate"]["maxSurge"] = 0  # since 1.22
    if subject.version.kind == "Service":
        _as_newer_and_not_allocated(wanted["spec"])
    for name in ADMITTED.get(subject.version.kind, ()):
        del wanted["spec"][name]
    for field in set(got) | set(wanted) - {"metadata"}:
        if field != "metadata":
            assert got.get(field) == wanted.get(field)
    # Pods have one since 1.33.
    generation = 1 if subject.version.kind == "Pod" else wanted["metadata"].get("generation")
    assert got["metadata"].get("generation") == generation


def _newer(message: str) -> str:
    for old, new in NEWER_MESSAGES.items():
        message = message.replace(old, new)
    return message


def _as_newer_and_not_allocated(spec: dict[str, Any]) -> None:
    for field in ALLOCATED:
        spec.pop(field, None)
    if spec["type"] in NODE_PORT_TYPES:
        for port in spec["ports"]:
            port.pop("nodePort")
    if spec["type"] != "ExternalName":
        spec.update(NEWER_SERVICE)
