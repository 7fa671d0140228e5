"""What the pipeline asks of a kind: defaults, rules, selectable fields, table columns.

A kind without rules of its own uses ``Strategy`` as it is. All methods are pure; they change the
objects given to them where their names say so, and raise nothing but what they document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from google.protobuf.message import Message

from knarr.machinery.errors import Cause


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
    # Whether a main-resource write bumps metadata.generation when the spec changes.
    has_generation: bool = False
    # Seconds a delete waits when nobody says otherwise; None deletes at once.
    allows_unconditional_update: bool = True

    def default(self, obj: Message) -> None:
        """Fills in what Kubernetes fills in."""

    def prepare_for_create(self, obj: Message) -> None:
        """Clears or sets what a client may not choose (status, generation …)."""

    def prepare_for_update(self, new: Message, old: Message) -> None:
        """As above for a write to the main resource: the old status is kept."""

    def prepare_for_status_update(self, new: Message, old: Message) -> None:
        """As above for a write to ``/status``: everything but the status is kept."""

    def validate(self, obj: Message) -> list[Cause]:
        """Rules that hold for every object of the kind; metadata is checked by the pipeline."""
        return []

    def validate_update(self, new: Message, old: Message) -> list[Cause]:
        """Rules about the change itself: immutable fields."""
        return []

    def validate_status_update(self, new: Message, old: Message) -> list[Cause]:
        return []

    def warnings(self, obj: Message) -> list[str]:
        """What a person should hear although the object is accepted."""
        return []

    def selectable_fields(self, obj: Message) -> Mapping[str, str]:
        """Values of the supported field selectors besides metadata.name and metadata.namespace."""
        return {}

    # The names that selectable_fields answers; others are refused with BadRequest.
    selectable_field_names: Sequence[str] = ()

    def grace_period_seconds(self, obj: Message, requested: int | None) -> int:
        """How long a delete waits for the owner of the object to finish it; 0 deletes at once."""
        return 0

    def cells(self, obj: Message, now: datetime) -> list[object]:
        """One table row, a value for each of ``columns``."""
        return []
