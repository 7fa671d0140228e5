"""The revision history of workloads."""

from __future__ import annotations

import orjson
import pytest

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.machinery.errors import Conflict, StatusError, status_error
from knarr.machinery.validation import dns1123_subdomain, label_value
from knarr.objects.copies import copy_of
from knarr.objects.owners import is_controlled_by
from services.controller.workloads.history import (
    MOST_COLLISIONS,
    POD_REVISION,
    data_of,
    history,
    new_revision,
    settle_history,
    surplus,
    template_of,
    truncate,
)
from tests.controller.objects import template
from tests.support.api import FaultyApi
from tests.support.virtual_time import virtual_time

LABEL = "controller.kubernetes.io/hash"


def workload(image: str = "app:1", collisions: int = 0) -> apps.StatefulSet:
    made = apps.StatefulSet()
    made.metadata.name, made.metadata.namespace, made.metadata.uid = "web", "default", "u1"
    made.metadata.annotations["kubernetes.io/change-cause"] = f"to {image}"
    made.spec.selector.match_labels["app"] = "web"
    made.spec.template.CopyFrom(template(image))
    made.status.collision_count = collisions
    return made


def revision(number: int, image: str = "app:1", name: str = "") -> apps.ControllerRevision:
    made = new_revision(workload(image), number, LABEL, 0)
    made.metadata.name = name or made.metadata.name
    return made


def test_a_revision_is_a_patch_that_puts_the_template_back() -> None:
    made = new_revision(workload(), 1, LABEL, 0)
    patch = orjson.loads(made.data.raw)
    assert patch["spec"]["template"].pop("$patch") == "replace"
    assert patch == {
        "spec": {
            "template": {
                "metadata": {"creationTimestamp": None, "labels": {"app": "web"}},
                "spec": {"containers": [{"name": "app", "image": "app:1", "resources": {}}], "terminationGracePeriodSeconds": 30},
            }
        }
    }
    assert template_of(made) == template()


def test_a_revision_says_whose_it_is_and_why_it_came() -> None:
    made = new_revision(workload(), 4, LABEL, 0)
    digest = made.metadata.labels[LABEL]
    assert made.metadata.name == f"web-{digest}" and len(digest) >= 5
    assert dict(made.metadata.labels) == {"app": "web", LABEL: digest}
    assert dict(made.metadata.annotations) == {"kubernetes.io/change-cause": "to app:1"}
    assert is_controlled_by(made, workload()) and made.revision == 4


def test_its_name_follows_from_the_template_and_the_collisions() -> None:
    names = {new_revision(workload(image, count), 1, LABEL, count).metadata.name for image in ("a", "b") for count in (0, 1)}
    assert len(names) == 4
    assert new_revision(workload(), 1, LABEL, 0).metadata.name == new_revision(workload(), 9, LABEL, 0).metadata.name


@pytest.mark.parametrize("name", ["n" * 52, "n" * 53, "n" * 253, "n" * 50 + ".-" + "n" * 20])
def test_its_name_is_one_and_fits_into_a_label_however_long_its_owners_is(name: str) -> None:
    long = workload()
    long.metadata.name = name
    made = new_revision(long, 1, LABEL, 0).metadata
    assert label_value(made.name) == [] and dns1123_subdomain(made.name) == []
    assert made.name.removesuffix(f"-{made.labels[LABEL]}") in (name, name[:52], name[:50])


@pytest.mark.parametrize(
    ("known", "name", "number", "is_new", "is_raised"),
    [
        pytest.param([], "", 1, True, False, id="the first"),
        pytest.param([revision(1, "app:0")], "", 2, True, False, id="another template"),
        pytest.param([revision(1, "app:0"), revision(2)], "", 2, False, False, id="the same template"),
        pytest.param([revision(2, "app:0"), revision(1)], "", 3, False, True, id="a template that came back"),
        pytest.param([revision(7)], "", 7, False, False, id="the only one keeps its number"),
        pytest.param(
            [revision(1, name="a"), revision(3, name="b"), revision(2, name="c")], "b", 3, False, False, id="the newest of several"
        ),
    ],
)
def test_the_revision_of_a_template(known: list[apps.ControllerRevision], name: str, number: int, is_new: bool, is_raised: bool) -> None:
    decided = history(workload(), known, LABEL)
    assert (decided.update.revision, decided.is_new, decided.is_raised) == (number, is_new, is_raised)
    assert decided.update.metadata.name == (name or revision(1).metadata.name)
    assert template_of(decided.update) == template()


def test_a_template_that_was_written_otherwise_is_the_same() -> None:
    """By another controller: no empty time of creation, spaces."""
    other = revision(1, name="web-5d4c7b")
    value = orjson.loads(other.data.raw)
    value["spec"]["template"]["metadata"].pop("creationTimestamp")
    other.data.raw = orjson.dumps(value, option=orjson.OPT_INDENT_2)
    assert history(workload(), [other], LABEL).update == other


@pytest.mark.parametrize("raw", [b"", b"null", b"[]", b"{}", b'{"spec":{"template":7}}', b'{"spec":{"template":{"spec":[]}}}', b"\xff"])
def test_data_that_nobody_can_read_is_no_template(raw: bytes) -> None:
    broken = revision(3)
    broken.data.raw = raw
    assert template_of(broken) is None
    assert history(workload(), [broken], LABEL).update.revision == 4


def test_one_that_is_being_deleted_counts_no_longer() -> None:
    leaving = revision(3)
    leaving.metadata.deletion_timestamp.seconds = 1
    assert history(workload(), [leaving], LABEL).is_new
    assert surplus([leaving, revision(1, name="b")], (), 0) == [revision(1, name="b")]


@pytest.mark.parametrize(("limit", "gone"), [(0, "acd"), (1, "ac"), (2, "a"), (3, ""), (10, ""), (-1, "")])
def test_the_oldest_beyond_the_limit_go_and_never_one_that_lives(limit: int, gone: str) -> None:
    known = [revision(number, f"app:{number}", name) for number, name in ((4, "d"), (1, "a"), (3, "c"), (2, "b"))]
    assert "".join(found.metadata.name for found in surplus(known, {"b"}, limit)) == gone


async def stored(api: FaultyApi, image: str = "app:1") -> apps.StatefulSet:
    made = workload(image)
    made.spec.service_name = "web"
    return await api.client().create(made)


@virtual_time
async def test_what_is_decided_is_made_once_and_raised_later() -> None:
    api = FaultyApi()
    owner = await stored(api)
    first, _ = await settle_history(api.client(), owner, history(owner, [], LABEL), LABEL)
    owner.spec.template.spec.containers[0].image = "app:2"
    await settle_history(api.client(), owner, history(owner, [first], LABEL), LABEL)
    assert {found.revision for found in api.all(apps.ControllerRevision)} == {1, 2}
    owner.spec.template.spec.containers[0].image = "app:1"
    back, collisions = await settle_history(api.client(), owner, history(owner, api.all(apps.ControllerRevision), LABEL), LABEL)
    assert (back.metadata.uid, back.revision, collisions) == (first.metadata.uid, 3, 0)
    writes = len(api.writes)
    assert (await settle_history(api.client(), owner, history(owner, api.all(apps.ControllerRevision), LABEL), LABEL))[0] == back
    assert len(api.writes) == writes


@virtual_time
async def test_a_cache_that_is_behind_makes_none_twice() -> None:
    api = FaultyApi()
    owner = await stored(api)
    made = [await settle_history(api.client(), owner, history(owner, [], LABEL), LABEL) for _ in range(2)]
    assert made[0] == made[1] and len(api.all(apps.ControllerRevision)) == 1
    stale = copy_of(made[0][0])
    stale.metadata.resource_version = "1"
    newer = copy_of(stale)
    newer.metadata.name, newer.revision = "newer", 2
    newer.data.raw = data_of(template("app:2"))
    with pytest.raises(Conflict):
        await settle_history(api.client(), owner, history(owner, [stale, newer], LABEL), LABEL)


@virtual_time
async def test_a_name_that_is_taken_costs_a_collision() -> None:
    api = FaultyApi()
    owner = await stored(api)
    taken = new_revision(owner, 1, LABEL, 0)
    del taken.metadata.owner_references[:]
    api.seed(taken)
    made, collisions = await settle_history(api.client(), owner, history(owner, [], LABEL), LABEL)
    assert collisions == 1 and made.metadata.name == new_revision(owner, 1, LABEL, 1).metadata.name
    assert made.metadata.labels[LABEL] == made.metadata.name.rpartition("-")[2]
    api.seed(*(new_revision(workload("app:9"), 1, LABEL, count) for count in range(MOST_COLLISIONS)))
    other = workload("app:9")
    other.metadata.uid = "another"
    with pytest.raises(RuntimeError, match="are taken by other ones"):
        await settle_history(api.client(), other, history(other, [], LABEL), LABEL)


@virtual_time
async def test_history_is_cut_and_what_is_gone_already_is_no_mishap() -> None:
    api = FaultyApi()
    owner = await stored(api)
    for number in range(4):
        owner.spec.template.spec.containers[0].image = f"app:{number}"
        await settle_history(api.client(), owner, history(owner, api.all(apps.ControllerRevision), LABEL), LABEL)
    known = api.all(apps.ControllerRevision)
    live = {next(found.metadata.name for found in known if found.revision == 1)}
    await truncate(api.client(), known, live, 1)
    await truncate(api.client(), known, live, 1)
    assert sorted(found.revision for found in api.all(apps.ControllerRevision)) == [1, 4]
    api.fail_next(status_error("Forbidden", "no"), verb="delete", message_type=apps.ControllerRevision)
    with pytest.raises(StatusError, match="no"):
        await truncate(api.client(), api.all(apps.ControllerRevision), (), 0)


def test_pods_are_not_told_apart_by_the_label_that_says_their_revision() -> None:
    labelled = workload()
    labelled.spec.template.metadata.labels[POD_REVISION] = "web-1"
    assert history(labelled, [revision(1)], LABEL).update == revision(1)
