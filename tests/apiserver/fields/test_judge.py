"""What is said of fields whose behaviour does not exist yet: by name, and only when a write sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from knarr.machinery import codec
from knarr.machinery.catalog import registry
from knarr.machinery.errors import Invalid
from knarr.objects.copies import copy_of
from services.apiserver.api import Ref
from services.apiserver.fields.judge import NOTHING, Judgement, judge
from services.apiserver.fields.table import WARNED, WHOLE, rows
from services.apiserver.in_memory import ApiInMemory
from tests.support.faces import RestClient

ROOT = Path(__file__).resolve().parents[3]
CONTAINER = {"name": "c", "image": "i"}


def decoded(manifest: dict[str, Any]) -> tuple[Ref, Any]:
    group, _, version = manifest["apiVersion"].rpartition("/")
    found = registry().named(group, version, manifest["kind"])
    assert found is not None
    manifest["metadata"].setdefault("namespace", "default")
    return Ref(found, "default", manifest["metadata"]["name"]), codec.from_json(found.message, manifest, codec.UnknownFields.REJECT).message


def pod(container: dict[str, Any] | None = None, **spec: Any) -> tuple[Ref, Any]:
    containers = [CONTAINER | (container or {})]
    return decoded({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": containers, **spec}})


def deployment(**spec: Any) -> tuple[Ref, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER], **spec}}
    whole = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return decoded({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": whole})


def refused(judged: Judgement) -> list[str]:
    return [cause.field for cause in judged.causes]


def warned(judged: Judgement) -> list[str]:
    return [text.partition(":")[0] for text in judged.warnings]


PROTECTING: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("spec.os.name", {"os": {"name": "windows"}}, {}),
    ("spec.volumes[1].flexVolume", {"volumes": [{"name": "a", "emptyDir": {}}, {"name": "b", "flexVolume": {"driver": "d/d"}}]}, {}),
    ("spec.volumes[0].emptyDir.medium", {"volumes": [{"name": "a", "emptyDir": {"medium": "HugePages"}}]}, {}),
]
HARMLESS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("spec.securityContext.seLinuxChangePolicy", {"securityContext": {"seLinuxChangePolicy": "Recursive"}}, {}),
]


@pytest.mark.parametrize(("path", "spec", "container"), PROTECTING, ids=[path for path, _, _ in PROTECTING])
def test_what_protects_or_cannot_be_is_refused_by_its_path(path: str, spec: dict[str, Any], container: dict[str, Any]) -> None:
    judged = judge(*pod(container, **spec))
    assert (refused(judged), warned(judged)) == ([path], [])
    assert {cause.reason for cause in judged.causes} == {"FieldValueForbidden"}


@pytest.mark.parametrize(("path", "spec", "container"), HARMLESS, ids=[path for path, _, _ in HARMLESS])
def test_what_is_harmless_to_ignore_is_warned_about(path: str, spec: dict[str, Any], container: dict[str, Any]) -> None:
    judged = judge(*pod(container, **spec))
    assert (refused(judged), warned(judged)) == ([], [path])


@pytest.mark.parametrize(
    ("spec", "container"),
    [
        ({"hostUsers": True, "os": {"name": "linux"}, "automountServiceAccountToken": True}, {}),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}, "supplementalGroupsPolicy": "Merge"}}, {}),
        ({}, {"volumeMounts": [{"name": "v", "recursiveReadOnly": "IfPossible"}], "resources": {"limits": {"memory": "1Gi"}}}),
        ({"volumes": [{"name": "a", "emptyDir": {"medium": "Memory"}}]}, {"readinessProbe": {"httpGet": {"protocol": "HTTP1"}}}),
    ],
)
def test_other_values_are_honoured(spec: dict[str, Any], container: dict[str, Any]) -> None:
    assert judge(*pod(container, **spec)) == NOTHING


def test_templates_are_judged_where_they_stand() -> None:
    assert refused(judge(*deployment(os={"name": "windows"}))) == ["spec.template.spec.os.name"]


def test_an_update_is_judged_by_what_it_adds() -> None:
    whole = {"resources": {"limits": {"cpu": "1"}}}
    ref, old = deployment(os={"name": "windows"}, **whole)
    new = copy_of(old)
    new.spec.replicas = 3
    assert judge(ref, new, old) == Judgement([], [])
    new.spec.template.spec.scheduling_group.SetInParent()
    assert warned(judge(ref, new, old)) == ["spec.template.spec.schedulingGroup"]


def test_a_list_in_another_order_adds_nothing_and_one_more_does() -> None:
    ref, old = pod({"securityContext": {"windowsOptions": {"hostProcess": True}}})
    new = copy_of(old)
    new.spec.containers.insert(0, type(new.spec.containers[0])(name="first"))
    assert warned(judge(ref, new, old)) == []
    new.spec.containers[0].security_context.windows_options.host_process = True
    assert len(judge(ref, new, old).warnings) == 1


def test_the_status_is_the_systems() -> None:
    ref, obj = pod()
    obj.status.container_statuses.add(name="c").resources.limits["ephemeral-storage"].string = "1"
    assert judge(ref, obj) == NOTHING


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_the_examples_ask_for_nothing_that_is_missing(path: Path) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        assert judge(*decoded(manifest)) == NOTHING


WITHOUT_CONTROLLER = {row.message.rpartition(".")[2]: row for row in rows() if row.field == WHOLE and row.state == WARNED}


@pytest.mark.parametrize("kind", WITHOUT_CONTROLLER)
def test_who_creates_what_nothing_acts_by_is_told_so_once(kind: str) -> None:
    row = WITHOUT_CONTROLLER[kind]
    (ref, found) = next((entry, version) for entry in registry() for version in entry.versions if version.kind == kind)
    new: Any = found.message()
    new.metadata.name = "x"
    at = Ref(found, "default" if ref.namespaced else "", "x")
    assert judge(at, new).warnings == [f"{kind} is kept, but nothing acts by it yet: {row.words}"]
    changed = copy_of(new)
    changed.metadata.labels["a"] = "b"
    assert judge(at, changed, new).warnings == []


def test_some_kinds_wait_for_their_controllers() -> None:
    assert {"IPAddress", "StorageVersionMigration"} <= set(WITHOUT_CONTROLLER)


async def test_the_warning_reaches_whoever_creates_it() -> None:
    async with ApiInMemory() as api:
        rest = RestClient(api)
        migration = {"metadata": {"name": "x"}, "spec": {"resource": {"group": "", "resource": "pods"}}}
        answer = await rest.call("POST", "/apis/storagemigration.k8s.io/v1/storageversionmigrations", migration)
        (warning,) = answer.headers["warning"]
        assert answer.status == 201 and "StorageVersionMigration is kept, but nothing acts by it yet" in warning


async def test_the_api_server_judges_creates_and_updates() -> None:
    async with ApiInMemory() as api:
        client = api.client()
        _, bad = deployment(os={"name": "windows"})
        with pytest.raises(Invalid, match=r"spec\.template\.spec\.os\.name: Forbidden: no node runs Windows"):
            await client.create(bad)
        api.seed(bad)
        await api.settle()
        stored = await client.get(type(bad), "d", "default")
        stored.spec.replicas = 5
        updated = await client.update(stored)
        assert updated.spec.replicas == 5
        updated.spec.template.spec.volumes.add(name="v").volume_source.flex_volume.driver = "d/d"
        with pytest.raises(Invalid, match=r"spec\.template\.spec\.volumes\[0\].flexVolume"):
            await client.update(updated)
