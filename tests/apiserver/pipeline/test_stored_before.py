"""Objects that an older API server has stored: what it did not write by default is no change of what cannot be changed."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.catalog import version_of
from knarr.machinery.errors import Invalid
from services.apiserver.backend import serialize
from services.apiserver.in_memory import ApiInMemory
from services.apiserver.storage.keys import object_key
from services.apiserver.storage.store import Put, Transaction

pytestmark = pytest.mark.asyncio

UID = "9d1f0c0e-0000-4000-8000-000000000001"
METADATA = meta.ObjectMeta(name="a", namespace="default", uid=UID, generation=1, creation_timestamp=meta.Time(seconds=1_700_000_000))


def pod_spec() -> core.PodSpec:
    container = core.Container(name="c", image="hello:1", image_pull_policy="IfNotPresent")
    return core.PodSpec(containers=[container], restart_policy="Never", node_name="n", preemption_policy="PreemptLowerPriority", priority=0)


def job() -> batch.Job:
    """As 1.20 keeps it: without the prefix before its labels, and without a completion mode."""
    labels = {"controller-uid": UID, "job-name": "a"}
    # Go writes the time of its creation, which it has none of, and the name of a cluster, a field that is no more.
    metadata = meta.ObjectMeta(labels=labels, creation_timestamp=meta.Time())
    metadata.MergeFromString(b"\x7a\x00")
    template = core.PodTemplateSpec(metadata=metadata, spec=pod_spec())
    selector = meta.LabelSelector(match_labels={"controller-uid": UID})
    return batch.Job(
        metadata=METADATA, spec=batch.JobSpec(parallelism=1, completions=1, backoff_limit=6, selector=selector, template=template)
    )


def stored(api: ApiInMemory, obj: Any) -> None:
    """Puts an object into the store as it is."""
    version = version_of(type(obj))
    key = object_key(version.resource, obj.metadata.namespace, obj.metadata.name)
    api.store.apply(Transaction({}, [Put(key, version.form.wrap(serialize(obj)))]))


@pytest.mark.parametrize("obj", [core.Pod(metadata=METADATA, spec=pod_spec()), job()], ids=["Pod", "Job"])
async def test_its_labels_can_be_changed(obj: Message) -> None:
    api = ApiInMemory()
    stored(api, obj)
    async with api:
        changed: Any = await api.client().patch(type(obj), "a", "default", patch={"metadata": {"labels": {"b": "c"}}})
        assert changed.metadata.labels["b"] == "c"


@pytest.mark.parametrize("obj", [core.Pod(metadata=METADATA, spec=pod_spec()), job()], ids=["Pod", "Job"])
async def test_what_cannot_be_changed_is_refused_as_ever(obj: Message) -> None:
    api = ApiInMemory()
    stored(api, obj)
    change = {"containers": [{"name": "other", "image": "hello:1"}]}
    spec = change if isinstance(obj, core.Pod) else {"template": {"spec": change}}
    async with api:
        with pytest.raises(Invalid):
            await api.client().patch(type(obj), "a", "default", patch={"spec": spec})


async def test_a_revision_is_the_same_however_its_json_is_spelled() -> None:
    api = ApiInMemory()
    stored(api, apps.ControllerRevision(metadata=METADATA, data={"raw": b'{ "a": {"b": 1},\n "c": 2 }'}, revision=1))
    async with api:
        client = api.client()
        same = {"data": {"c": 2, "a": {"b": 1}}, "revision": 2}
        assert (await client.patch(apps.ControllerRevision, "a", "default", patch=same)).revision == 2
        with pytest.raises(Invalid, match="field is immutable"):
            await client.patch(apps.ControllerRevision, "a", "default", patch={"data": {"c": 3}})
