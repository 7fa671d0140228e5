"""In which version an object lies in the store, and that it is read whatever that is."""

from __future__ import annotations

import pytest
from google.protobuf.message import Message

from knarr.api.autoscaling.v2 import autoscaling_pb2 as autoscaling
from knarr.api.batch.v1 import batch_pb2 as batch
from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.discovery.v1 import discovery_pb2 as discovery
from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery import envelope
from knarr.machinery.catalog import version_of
from services.apiserver.backend import serialize
from services.apiserver.storage.values import OLDER, Values

KEY = "/registry/a"
NAMED = meta.ObjectMeta(name="a", namespace="default")
SPEC = autoscaling.HorizontalPodAutoscalerSpec(max_replicas=3)
LIMITED = flowcontrol.PriorityLevelConfigurationSpec(
    type="Limited", limited=flowcontrol.LimitedPriorityLevelConfiguration(nominal_concurrency_shares=7)
)
OBJECTS: dict[str, Message] = {
    "autoscaling/v1": autoscaling.HorizontalPodAutoscaler(metadata=NAMED, spec=SPEC),
    "batch/v1beta1": batch.CronJob(metadata=NAMED, spec=batch.CronJobSpec(schedule="@daily")),
    "coordination.k8s.io/v1beta1": coordination.Lease(metadata=NAMED, spec=coordination.LeaseSpec(holder_identity="me")),
    "flowcontrol.apiserver.k8s.io/v1beta1": flowcontrol.PriorityLevelConfiguration(metadata=NAMED, spec=LIMITED),
    "discovery.k8s.io/v1beta1": discovery.EndpointSlice(metadata=NAMED, endpoints=[discovery.Endpoint(addresses=["10.0.0.1"], zone="z")]),
}


@pytest.mark.parametrize("api_version", OBJECTS)
def test_an_object_lies_in_the_version_that_is_asked_for(api_version: str) -> None:
    resource, raw = version_of(type(OBJECTS[api_version])).resource, serialize(OBJECTS[api_version])
    old, plain = Values([api_version]), Values()
    value = old.value(resource, KEY, raw)
    assert envelope.unwrap(value).type_meta.api_version == api_version
    assert envelope.unwrap(value).type_meta.kind == resource.storage.kind
    assert old.read(resource, KEY, value).raw == plain.read(resource, KEY, value).raw == raw
    assert old.read(resource, KEY, plain.value(resource, KEY, raw)).raw == raw


def test_the_rest_lies_in_its_own() -> None:
    pod = core.Pod(metadata=NAMED)
    resource = version_of(core.Pod).resource
    assert Values(OLDER).value(resource, KEY, serialize(pod)) == resource.storage.form.wrap(serialize(pod))


def test_a_version_that_nobody_knows_is_not_read() -> None:
    with pytest.raises(ValueError, match=r"pods of v9 are not served"):
        Values().read(version_of(core.Pod).resource, KEY, envelope.wrap("v9", "Pod", b""))
