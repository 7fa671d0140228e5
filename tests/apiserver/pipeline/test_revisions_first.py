"""What comes first when an object is replaced or patched: whom it is meant for, and as of which revision."""

from __future__ import annotations

import pytest

from knarr.api.coordination.v1 import coordination_pb2 as coordination
from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Conflict, Invalid
from services.apiserver.in_memory import ApiInMemory

pytestmark = pytest.mark.asyncio

METADATA = meta.ObjectMeta(name="a", namespace="default")


async def test_a_revision_that_is_missing_is_told_before_all_else_and_of_the_resource() -> None:
    async with ApiInMemory() as api:
        await api.client().create(coordination.Lease(metadata=METADATA))
        wrong = coordination.Lease(metadata=METADATA, spec=coordination.LeaseSpec(lease_duration_seconds=-1))
        with pytest.raises(Invalid) as caught:
            await api.client().update(wrong)
    status = caught.value.status
    assert status.message.startswith('leases.coordination.k8s.io "a" is invalid: metadata.resourceVersion: ')
    assert (status.details.kind, [cause.field for cause in status.details.causes]) == ("leases", ["metadata.resourceVersion"])


async def test_another_uid_is_another_object_to_replace_and_a_change_to_patch() -> None:
    async with ApiInMemory() as api:
        found = await api.client().create(core.ConfigMap(metadata=METADATA))
        with pytest.raises(Invalid, match=r"metadata\.uid: Invalid value: \"other\": field is immutable"):
            await api.client().patch(core.ConfigMap, "a", "default", patch={"metadata": {"uid": "other"}})
        found.metadata.uid = "other"
        with pytest.raises(Conflict, match="UID in precondition: other"):
            await api.client().update(found)
