"""What is decoded once for everybody in the process does without managers; what is served has them."""

from __future__ import annotations

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from services.apiserver.entry import Entry
from tests.apiserver.apply.managed import entry


def test_managers_are_served_and_not_shared() -> None:
    made = core.ConfigMap(metadata=meta.ObjectMeta(name="c", managed_fields=[entry("m", {"f:data": {}})]), data={"a": "1"})
    found = Entry(version_of(core.ConfigMap), "/registry/configmaps/default/c", 7, made.SerializeToString(deterministic=True))
    shared = found.shared_message
    assert (len(shared.metadata.managed_fields), dict(shared.data), shared.metadata.resource_version) == (0, {"a": "1"}, "7")
    assert found.shared_message is shared
    assert orjson.loads(found.json)["metadata"]["managedFields"][0]["manager"] == "m"
    assert len(core.ConfigMap.FromString(found.with_revision).metadata.managed_fields) == 1
