"""The revision history of a workload: each template that it had, kept as a ControllerRevision.

StatefulSets and DaemonSets keep one. A revision's data is a strategic merge patch that puts its template back
(``{"spec": {"template": {…, "$patch": "replace"}}}``), which is what ``kubectl rollout history`` and ``undo`` go by. Of revisions with the
same template the one with the highest number counts, and a template that comes back gets its revision back, with a new number.

A controller of such a workload ``owns`` ControllerRevisions; with those that are ``claimed`` it asks ``history``, carries that out with
``settle_history``, and ends with ``truncate``. Nothing need be expected of these writes: a cache that is behind makes none twice.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.core.v1 import core_pb2 as core
from knarr.client.client import Client
from knarr.machinery import codec
from knarr.machinery.errors import AlreadyExists, Conflict, NotFound, StatusError
from knarr.machinery.times import to_datetime
from knarr.objects import hashes
from knarr.objects.copies import copy_of
from knarr.objects.keys import is_deleting
from knarr.objects.owners import is_controlled_by, owner_reference

# What a pod carries to say of which revision it is: a StatefulSet's the revision's name, a DaemonSet's its hash.
POD_REVISION = "controller-revision-hash"
# A StatefulSet's pods have the name as a label, which must fit. Kubernetes cuts at 223, and makes no pod of a set of a longer name than 52.
LONGEST_NAME = 63
# Hashes are 32 bits long: two collisions in a row do not happen by chance.
MOST_COLLISIONS = 10


@dataclass(frozen=True, slots=True)
class History:
    """The revision that the template of a workload has, and how it comes to be.

    ``update`` is that revision as it shall be. It is stored as it stands, unless it is to be made (``is_new``) or has a lower number yet
    (``is_raised``): then a template of old came back.
    """

    update: apps.ControllerRevision
    is_new: bool = False
    is_raised: bool = False


def oldest_first(revisions: Iterable[apps.ControllerRevision]) -> list[apps.ControllerRevision]:
    """By number; those of one number by age."""
    return sorted(revisions, key=lambda found: (found.revision, to_datetime(found.metadata.creation_timestamp), found.metadata.name))


def history(workload: Any, revisions: Iterable[apps.ControllerRevision], hash_label: str) -> History:
    """``revisions`` are the workload's own; ``hash_label`` is the label of a new one that has its hash.

    A workload is of any kind with ``spec.template`` and ``status.collision_count``.
    """
    known = oldest_first(revision for revision in revisions if not is_deleting(revision))
    newest = known[-1].revision if known else 0
    same = next(same_template(workload.spec.template, reversed(known)), None)
    if same is None:
        return History(new_revision(workload, newest + 1, hash_label, workload.status.collision_count), is_new=True)
    if same.revision == newest:
        return History(same)
    raised = copy_of(same)
    raised.revision = newest + 1
    return History(raised, is_raised=True)


def same_template(template: core.PodTemplateSpec, revisions: Iterable[apps.ControllerRevision]) -> Iterator[apps.ControllerRevision]:
    """Those whose template means the same, however it is spelled: another controller or an older one may have written it."""
    wanted, spelled = hashes.canonical(template, POD_REVISION), data_of(template)
    return (found for found in revisions if found.data.raw == spelled or _canonical(found) == wanted)


def surplus(revisions: Iterable[apps.ControllerRevision], live: Collection[str], limit: int) -> list[apps.ControllerRevision]:
    """The oldest beyond ``limit`` of those whose names are not ``live``: of no pod and not needed. A negative limit keeps all."""
    history = [found for found in oldest_first(revisions) if found.metadata.name not in live and not is_deleting(found)]
    return history[: max(len(history) - limit, 0)] if limit >= 0 else []


def new_revision(workload: Any, number: int, hash_label: str, collision_count: int) -> apps.ControllerRevision:
    """The revision of a workload's template, to be made. Its name says the template and how many others had that name already."""
    template, metadata = workload.spec.template, workload.metadata
    digest = hashes.template_hash(template, POD_REVISION, collision_count)
    revision = apps.ControllerRevision(revision=number)
    base = metadata.name[: LONGEST_NAME - len(digest) - 1].rstrip("-.")
    revision.metadata.name, revision.metadata.namespace = f"{base}-{digest}", metadata.namespace
    revision.metadata.labels.update(template.metadata.labels)
    revision.metadata.labels[hash_label] = digest
    # ``kubernetes.io/change-cause`` is among them, which ``kubectl rollout history`` shows.
    revision.metadata.annotations.update(metadata.annotations)
    revision.metadata.owner_references.append(owner_reference(workload))
    revision.data.raw = data_of(template)
    return revision


def data_of(template: core.PodTemplateSpec) -> bytes:
    """The patch that puts a template back."""
    return orjson.dumps({"spec": {"template": codec.to_dict(template) | {"$patch": "replace"}}}, option=orjson.OPT_SORT_KEYS)


def template_of(revision: apps.ControllerRevision) -> core.PodTemplateSpec | None:
    """The template that a revision puts back; None where its data has none that can be read."""
    try:
        found = orjson.loads(revision.data.raw)["spec"]["template"]
        found.pop("$patch", None)
        return codec.from_json(core.PodTemplateSpec, orjson.dumps(found)).message
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, StatusError):
        return None


def _canonical(revision: apps.ControllerRevision) -> str | None:
    template = template_of(revision)
    return None if template is None else hashes.canonical(template, POD_REVISION)


async def settle_history(client: Client, workload: Any, decided: History, hash_label: str) -> tuple[apps.ControllerRevision, int]:
    """Makes what was decided true; answers the revision as it is stored, and the workload's collision count from now on.

    Raises StatusError when a write fails, and Conflict when what was decided on is older than what is stored.
    """
    collisions = int(workload.status.collision_count)
    if decided.is_raised:
        return await client.update(decided.update), collisions
    if not decided.is_new:
        return decided.update, collisions
    wanted = decided.update
    for _ in range(MOST_COLLISIONS):
        try:
            return await client.create(wanted), collisions
        except AlreadyExists:
            live = await client.get(apps.ControllerRevision, wanted.metadata.name, wanted.metadata.namespace)
            if is_controlled_by(live, workload) and not is_deleting(live) and any(same_template(workload.spec.template, [live])):
                # The cache is behind.
                return live, collisions
            collisions += 1
            wanted = new_revision(workload, wanted.revision, hash_label, collisions)
    raise RuntimeError(f"{MOST_COLLISIONS} names for a revision of {workload.metadata.name} are taken by other ones: delete some of them")


async def truncate(client: Client, revisions: Iterable[apps.ControllerRevision], live: Collection[str], limit: int) -> None:
    """Deletes what ``surplus`` says. What is gone is deleted."""
    for found in surplus(revisions, live, limit):
        metadata = found.metadata
        with contextlib.suppress(NotFound, Conflict):
            await client.delete(apps.ControllerRevision, metadata.name, metadata.namespace, uid=metadata.uid)
