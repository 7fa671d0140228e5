"""What the pipeline asks of a kind: defaults, rules, selectable fields, table columns.

A kind without rules of its own uses ``Strategy`` as it is. All methods are pure; they change the
objects given to them where their names say so, and raise nothing but what they document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, ClassVar

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from knarr.machinery.errors import Cause
from knarr.machinery.fieldsets.fields import EMPTY, Fields, union
from knarr.machinery.forms import write_seconds
from knarr.machinery.schema import descriptor_of
from knarr.machinery.validation import Format, dns1123_label, dns1123_subdomain
from knarr.objects.copies import copy_field
from knarr.objects.keys import is_deleting

STATUS: Fields = {"f:status": {}}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a Table. ``priority`` 1 is shown only with ``-o wide``."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


class Strategy:
    """The rules of one kind. Specified by Kubernetes' API conventions and its validation."""

    columns: Sequence[Column] = (Column("Name", format="name"), Column("Created At", type="date"))
    # What a name of the kind must look like; ``validate_object_meta`` in metadata.py asks it.
    name_format: Format = staticmethod(dns1123_subdomain)
    # What is called after the object, and should do without dots therefore.
    named_after: str = ""
    # Whether finalizers besides Kubernetes' own need a domain and a slash; where not, people are warned.
    full_finalizers: bool = True
    # How much more work an object is than others of its size.
    work_factor: int = 1
    # Whether a main-resource write bumps metadata.generation when anything but metadata and status changes.
    has_generation: bool = False
    # Seconds after its last write at which an object vanishes; 0: it stays.
    ttl_seconds: int = 0
    # What of the metadata a write to the status does not reach.
    kept_by_status: ClassVar[Fields] = EMPTY
    # Whether an update without a resourceVersion is accepted.
    allows_unconditional_update: bool = True
    # Whether an update of an object that is not there creates it: Kubernetes' AllowCreateOnUpdate.
    creates_on_update: bool = False
    # Whether a delete answers the object that it removed, instead of a Status: Kubernetes' ReturnDeletedObject.
    returns_deleted: bool = False
    # Whether what it owns stays when it is deleted and nothing is said about that: Kubernetes' DefaultGarbageCollectionPolicy; and then
    # what whoever says nothing should hear.
    orphans_by_default: bool = False
    orphaning_warning: str = ""
    # Whether its owner may take a grace period to end it; what is removed at once is marked as deleted all the same.
    graceful: bool = False

    def default(self, obj: Any) -> None:
        """Fills in what Kubernetes fills in."""

    def prepare_for_create(self, obj: Any) -> None:
        """Clears or sets what a client may not choose (status, generation …)."""
        if "status" in obj.DESCRIPTOR.fields_by_name:
            obj.ClearField("status")
        if self.has_generation:
            obj.metadata.generation = 1

    def prepare_for_update(self, new: Any, old: Any) -> None:
        """As above for a write to the main resource: the old status is kept."""
        if "status" in new.DESCRIPTOR.fields_by_name:
            copy_field("status", new, old)
        if self.has_generation:
            new.metadata.generation = old.metadata.generation + _content_differs(new, old)

    def stamp(self, new: Any, old: Any, now: Callable[[], datetime]) -> None:
        """Notes in a proposed object since when something is so, where its writer leaves that to the server. A new one is both."""

    def prepare_for_status_update(self, new: Any, old: Any) -> None:
        """As above for a write to ``/status``: everything but the status is kept."""
        for descriptor in new.DESCRIPTOR.fields:
            if descriptor.name not in ("metadata", "status"):
                copy_field(descriptor.name, new, old)
        new.metadata.generation = old.metadata.generation

    def prepare_for_approval(self, new: Any, old: Any) -> None:
        """As above for a write to ``/approval``."""
        self.prepare_for_status_update(new, old)

    def unreached(self, message: type[Message], subresource: str) -> Fields:
        """The fields that a write to the object, or to a sub-resource of it, does not reach: nobody comes to own them by it."""
        if subresource != "status":
            return STATUS
        others = _all_but_status(descriptor_of(message))
        return union(others, self.kept_by_status) if self.kept_by_status else others

    def validate(self, obj: Any) -> list[Cause]:
        """Rules that hold for every object of the kind; metadata is checked by the pipeline."""
        return []

    def validate_create(self, obj: Any) -> list[Cause]:
        """Rules that only a new object must keep, besides those of ``validate``."""
        return []

    def validate_update(self, new: Any, old: Any) -> list[Cause]:
        """Rules about the change itself: immutable fields."""
        return []

    def validate_status_update(self, new: Any, old: Any) -> list[Cause]:
        return []

    def validate_approval_update(self, new: Any, old: Any) -> list[Cause]:
        return self.validate_status_update(new, old)

    def name_warnings(self, name: str) -> list[str]:
        """What a person should hear of the name of a new object."""
        wrong = dns1123_label(name) if self.named_after else []
        if not wrong:
            return []
        words = f"this is used in {self.named_after}, which can result in surprising behavior; a DNS label is recommended"
        return [f"metadata.name: {words}: [{' '.join(wrong)}]"]

    def warnings(self, obj: Any) -> list[str]:
        """What a person should hear although the object is accepted."""
        return []

    def selectable_fields(self, obj: Any) -> Mapping[str, str]:
        """Values of the supported field selectors besides metadata.name and metadata.namespace."""
        return {}

    # The names that selectable_fields answers; others are refused with BadRequest.
    selectable_field_names: Sequence[str] = ()

    def grace_period_seconds(self, obj: Any, requested: int | None) -> int:
        """How long a delete waits for the owner of the object to finish it; 0 deletes at once."""
        return 0

    def mark_deleted(self, obj: Any, grace_seconds: int) -> None:
        """Says in the object how its deletion goes on; its deletionTimestamp is set already."""
        obj.metadata.deletion_grace_period_seconds = grace_seconds

    def has_finalizers(self, obj: Any) -> bool:
        """Whether somebody still has to let go of an object that is being deleted."""
        return bool(obj.metadata.finalizers)

    def vanishes(self, obj: Any) -> bool:
        """Whether an object is being deleted and has nothing left to wait for."""
        return is_deleting(obj) and not obj.metadata.deletion_grace_period_seconds and not self.has_finalizers(obj)

    def cells(self, obj: Any, now: datetime) -> list[object]:
        """One table row, a value for each of ``columns``."""
        return [obj.metadata.name, write_seconds(obj.metadata.creation_timestamp.seconds)]


@cache
def _all_but_status(message: Descriptor) -> Fields:
    names = (descriptor.json_name for descriptor in message.fields)
    return {f"f:{name}": {} for name in names if name not in ("metadata", "status")}


def _content_differs(new: Any, old: Any) -> bool:
    """Whether anything but metadata and status differs; most kinds have nothing else but a spec."""
    names = (descriptor.name for descriptor in new.DESCRIPTOR.fields)
    return any(getattr(new, name) != getattr(old, name) for name in names if name not in ("metadata", "status"))
