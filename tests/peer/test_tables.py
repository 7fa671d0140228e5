"""What kubectl shows of an object is a table, and both servers show the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.peer.comparison import Schema
from tests.peer.objects import create, inputs
from tests.peer.peers import Answer, Peers

pytestmark = [pytest.mark.peer, pytest.mark.etcd]

# What a newer Kubernetes shows otherwise, by kind and column (one that 1.20 has not is newer anyway), and why.
NEWER = {
    ("Event", "Count"): "1.20 counts one that is not in the series",
    ("HorizontalPodAutoscaler", "Targets"): "newer Kubernetes names the resource",
    ("Job", "Selector"): "newer Kubernetes selects by a label with a prefix, and the uid is another",
    ("Service", "Cluster-IP"): "1.20 gives no address out in a dry run",
    ("Service", "Port(s)"): "each server chooses node ports",
}
NEWER_COLUMNS = {
    "CSIDriver": {"RequiresRepublish", "StorageCapacity", "TokenRequests"},
    "CertificateSigningRequest": {"RequestedDuration"},
    "Job": {"Status"},
    "PersistentVolume": {"VolumeAttributesClass"},
    "PersistentVolumeClaim": {"VolumeAttributesClass"},
    "PriorityClass": {"PreemptionPolicy"},
}
# They say when somebody looked.
VOLATILE = {"Age", "Created At", "Duration"}
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def cells(answer: Answer) -> dict[str, Any]:
    """By the name of its column, what stands in the one row, and the column's type, format and priority; nothing of a refusal."""
    if answer.body.get("kind") != "Table":
        return {}
    columns, (row,) = answer.body["columnDefinitions"], answer.body["rows"]
    shown = zip(columns, row["cells"], strict=True)
    return {column["name"]: (column["type"], column["format"], column["priority"], cell) for column, cell in shown}


def test_both_show_alike(peers: Peers, schema: Schema) -> None:
    different, compared = [], 0
    for name, obj in inputs():
        known = schema.of_kind(obj)
        if known is None or list(known.newer_fields(obj)):
            continue
        theirs, ours = (cells(answer) for answer in peers.ask(replace(create(obj), accept=TABLE)))
        if not theirs or not ours:
            continue
        compared, kind = compared + 1, obj["kind"]
        assert ours.keys() - theirs.keys() <= NEWER_COLUMNS.get(kind, set()), name
        for column, cell in theirs.items():
            if column not in VOLATILE and (kind, column) not in NEWER and ours.get(column) != cell:
                different.append((name, column, cell, ours.get(column)))
    assert different == [] and compared > 200
