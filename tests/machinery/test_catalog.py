"""The built-in resources beside the table of a Kubernetes API server's own: names, scope, verbs, sub-resources."""

from __future__ import annotations

import csv

import pytest

from knarr.machinery.catalog import BUILT_IN
from knarr.machinery.resources import Version
from tests.support.cluster_client import ROOT

# The table was recorded from 1.20; kinds that came later stand at its end. Of versions that came later, that of another version of the
# group is compared.
LATER = {
    "apis/autoscaling/v2": "apis/autoscaling/v1",
    "apis/batch/v1beta1": "apis/batch/v1",
    "apis/networking.k8s.io/v1beta1": "apis/networking.k8s.io/v1",
    "apis/discovery.k8s.io/v1": "apis/discovery.k8s.io/v1beta1",
    "apis/policy/v1": "apis/policy/v1beta1",
    "apis/flowcontrol.apiserver.k8s.io/v1": "apis/flowcontrol.apiserver.k8s.io/v1beta1",
}
LATER_VERBS = {"services": {"deletecollection"}}


def table() -> dict[tuple[str, str], dict[str, str]]:
    with (ROOT / "tools/schema/kubernetes-resources.tsv").open(newline="") as file:
        return {(row["group_version"], row["resource"]): row for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)}


def words(text: str) -> set[str]:
    return set(text.split(",")) - {""}


@pytest.mark.parametrize("version", [version for resource in BUILT_IN for version in resource.versions], ids=lambda found: found.qualified)
def test_a_resource_is_called_and_used_as_in_kubernetes(version: Version) -> None:
    resource, rows = version.resource, table()
    place = f"apis/{version.api_version}" if version.group else f"api/{version.version}"
    group_version = LATER.get(place, place)
    row = rows[group_version, resource.plural]
    assert (version.kind, str(resource.namespaced)) == (row["kind"], row["namespaced"])
    assert (set(resource.short_names), set(resource.categories)) == (words(row["short_names"]), words(row["categories"]))
    assert set(resource.verbs) == words(row["verbs"]) | LATER_VERBS.get(resource.plural, set())
    for sub in resource.subresources:
        row = rows[group_version, f"{resource.plural}/{sub.name}"]
        kind = sub.body_names[1] if sub.body_names is not None else version.kind
        assert (kind, set(sub.verbs)) == (row["kind"], words(row["verbs"])), sub.name
