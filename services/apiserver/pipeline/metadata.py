"""What the server itself writes into ObjectMeta, the same for every kind."""

from __future__ import annotations

import random
import re
from datetime import datetime
from typing import Any

from knarr.machinery.errors import bad_request
from knarr.objects.copies import copy_of
from knarr.objects.names import new_uid
from services.apiserver.pipeline.refusals import another
from services.apiserver.results import Ref

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
REVISION = re.compile(r"[0-9]+")
REPEATED_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may reject such requests "
    "as early as 1.24; please fix your requests; duplicate UID(s) observed: "
)


def check_request(ref: Ref, obj: Any) -> None:
    """An object may not say another place than the request's; its namespace is filled in."""
    found = obj.metadata
    if not ref.resource.namespaced:
        found.namespace = ""
    elif not ref.namespace:
        raise bad_request("an empty namespace may not be set during creation")
    elif not found.namespace:
        found.namespace = ref.namespace
    elif found.namespace != ref.namespace:
        raise bad_request(
            f"the namespace of the provided object does not match the namespace sent on the request ({found.namespace} != {ref.namespace})"
        )
    if ref.name and found.name and found.name != ref.name:
        raise bad_request(f"the name of the object ({found.name}) does not match the name on the URL ({ref.name})")


def wipe(obj: Any) -> None:
    """Takes from what is to be created what only the server says of an object, before anybody is asked about it: who exempts objects
    that are being deleted, say, exempts no new one."""
    clear = obj.metadata.ClearField
    # One after the other, as a loop would take twice as long: it is done twice for all that is created.
    clear("uid")
    clear("self_link")
    clear("creation_timestamp")
    clear("deletion_timestamp")
    clear("deletion_grace_period_seconds")


def prepare_for_create(obj: Any, now: datetime, source: random.Random) -> None:
    """Sets what the server decides; raises BadRequest when a resourceVersion is given."""
    found = obj.metadata
    if _names_a_revision(found.resource_version):
        raise bad_request("resourceVersion should not be set on objects to be created")
    wipe(obj)
    found.ClearField("resource_version")
    found.generation = 0
    found.uid = new_uid(source)
    found.creation_timestamp.seconds, found.creation_timestamp.nanos = int(now.timestamp()), 0


def _names_a_revision(text: str) -> bool:
    """Kubernetes takes 0 for none, and so it does what is no number: clients are published that write ``v1`` there."""
    return REVISION.fullmatch(text) is not None and 0 < int(text) < 2**64


def owned_once(obj: Any) -> list[str]:
    """Leaves out owners that are named twice alike, and says so to the writer."""
    owners = obj.metadata.owner_references
    kept: dict[bytes, Any] = {}
    repeated: list[str] = []
    for owner in owners:
        if kept.setdefault(owner.SerializeToString(deterministic=True), owner) is not owner:
            repeated.append(owner.uid)
    if not repeated:
        return []
    kept_owners = [copy_of(owner) for owner in kept.values()]
    del owners[:]
    owners.extend(kept_owners)
    return [REPEATED_OWNERS + ", ".join(repeated)]


def check_uid(new: Any, old: Any, ref: Ref) -> None:
    """Raises Conflict when what is to replace an object is another one."""
    found, kept = new.metadata, old.metadata
    if found.uid and found.uid != kept.uid:
        raise another(ref, found.uid, kept.uid)


def prepare_for_update(new: Any, old: Any) -> None:
    """Keeps what a client may not change. Another uid stays, to be refused with all else that is wrong."""
    found, kept = new.metadata, old.metadata
    found.name = found.name or kept.name
    found.uid, found.generation, found.self_link = found.uid or kept.uid, kept.generation, ""
    found.generate_name = found.generate_name or kept.generate_name
    found.creation_timestamp.CopyFrom(kept.creation_timestamp)
    # Nobody begins a deletion by an update: what says so is refused with all else that is wrong.
    if kept.HasField("deletion_timestamp"):
        found.deletion_timestamp.CopyFrom(kept.deletion_timestamp)
    if kept.HasField("deletion_grace_period_seconds"):
        found.deletion_grace_period_seconds = kept.deletion_grace_period_seconds
