"""Claims that look at others' devices are made, and given them, in marked namespaces alone."""

from __future__ import annotations

import pytest

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.resource.v1 import resource_pb2 as resource
from knarr.machinery.errors import Invalid
from services.apiserver.in_memory import ApiInMemory

WORDS = r"adminAccess: Forbidden: admin access to devices requires the `resource\.kubernetes\.io/admin-access: true` label"


def claim(namespace: str, *, admin: bool = True) -> resource.ResourceClaim:
    made = resource.ResourceClaim()
    made.metadata.name, made.metadata.namespace = "looks", namespace
    wanted = made.spec.devices.requests.add(name="all").exactly
    wanted.device_class_name, wanted.admin_access = "cards", admin
    return made


def template(namespace: str) -> resource.ResourceClaimTemplate:
    made = resource.ResourceClaimTemplate()
    made.metadata.name, made.metadata.namespace = "looks", namespace
    made.spec.spec.CopyFrom(claim(namespace).spec)
    return made


async def test_only_where_an_administrator_says_so() -> None:
    async with ApiInMemory() as api:
        client = api.client()
        marked = core.Namespace()
        marked.metadata.name = "marked"
        marked.metadata.labels["resource.kubernetes.io/admin-access"] = "true"
        await client.create(marked)
        for made in (claim("marked"), template("marked")):
            await client.create(made)
        with pytest.raises(Invalid, match=rf"spec\.devices\.requests\[0\]\.{WORDS}"):
            await client.create(claim("default"))
        with pytest.raises(Invalid, match=rf"spec\.spec\.devices\.requests\[0\]\.{WORDS}"):
            await client.create(template("default"))
        plain = await client.create(claim("default", admin=False))
        plain.status.allocation.devices.results.add(request="all", driver="d.example.com", pool="p", device="d", admin_access=True)
        with pytest.raises(Invalid, match=rf"status\.allocation\.devices\.results\[0\]\.{WORDS}"):
            await client.update(plain, subresource="status")
