"""Versions, names and what is found by them. Changes while a server runs are tested on the server."""

from __future__ import annotations

import pytest

from knarr.api.autoscaling.v1 import autoscaling_pb2 as autoscaling
from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import catalog
from knarr.machinery.errors import NotFound
from knarr.machinery.resources import Route, served, version_priority
from knarr.machinery.type_names import api_version_and_kind, message_named, names_of


def test_versions_are_preferred_as_in_kubernetes() -> None:
    # The order that Kubernetes' own documentation of CustomResourceDefinitions gives.
    wanted = ["v10", "v2", "v1", "v11beta2", "v10beta3", "v3beta1", "v12alpha1", "v11alpha2", "foo1", "foo10"]
    assert sorted(set(wanted), key=version_priority) == wanted


def test_every_built_in_message_goes_by_the_names_of_its_version() -> None:
    for resource in catalog.BUILT_IN:
        for version in resource.versions:
            assert version.resource is resource
            assert names_of(version.message) == version.names
            if version.list_message is not None:
                assert api_version_and_kind(version.listed.DESCRIPTOR) == (version.api_version, f"{version.kind}List")
            assert message_named(version.message.DESCRIPTOR.full_name) is version.message
            assert catalog.version_of(version.message) is version


@pytest.mark.parametrize("name", ["", "Pod", "knarr.api.core.v1.Nope", "knarr.api.core.v9.Pod", "knarr.api.nope.v1.Pod", "a.b.c.d.e"])
def test_a_name_of_no_message(name: str) -> None:
    assert message_named(name) is None


def test_a_registry_finds_by_version_kind_message_and_body() -> None:
    registry = catalog.registry()
    pods = registry.served("", "v1", "pods")
    assert pods is not None and registry.named("", "v1", "Pod") is pods is registry.of(core.Pod)
    assert registry.posted_to("binding", core.Binding) is pods
    assert registry.posted_to("binding", core.Pod) is None and registry.posted_to("status", core.Pod) is None
    registry.remove(pods.resource)
    assert registry.posted_to("binding", core.Binding) is None
    registry.add(pods.resource)
    assert registry.posted_to("binding", core.Binding) is pods
    preferred = registry.preferred("autoscaling", "horizontalpodautoscalers")
    assert preferred is not None and preferred.version == "v2"
    assert registry.preferred("autoscaling", "pods") is None
    with pytest.raises(NotFound, match=r"knarr\.api\.core\.v1\.PodList is not served"):
        served(registry.of(core.PodList), core.PodList)


def test_a_body_is_the_subresources_or_the_resources_own() -> None:
    deployments = catalog.registry().served("apps", "v1", "deployments")
    assert deployments is not None
    scale, status = (deployments.resource.subresource(name) for name in ("scale", "status"))
    assert deployments.body_of(scale) is autoscaling.Scale
    assert deployments.body_of(status) is deployments.body_of(None) is deployments.message
    assert scale is not None and scale.body_names == ("autoscaling/v1", "Scale") and scale.route is Route.OBJECT
