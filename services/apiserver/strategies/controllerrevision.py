"""The strategy of ControllerRevisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson

from knarr.api.apps.v1 import apps_pb2 as apps
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import Cause
from knarr.machinery.validation import CUT, IMMUTABLE, Path, check_not_negative, invalid, required
from services.apiserver.strategies.strategy import Strategy
from services.apiserver.strategies.table import NONE, age, columns


class ControllerRevisionStrategy(Strategy):
    """No defaults."""

    columns = columns("Name", "Controller", "Revision", "Age")

    def validate(self, obj: apps.ControllerRevision) -> list[Cause]:
        causes = [] if obj.data.raw else [required(Path("data"), "data is mandatory")]
        return causes + check_not_negative(Path("revision"), obj.revision)

    def prepare_for_update(self, new: apps.ControllerRevision, old: apps.ControllerRevision) -> None:
        super().prepare_for_update(new, old)
        if new.data != old.data and _plain(new.data.raw) == _plain(old.data.raw):
            # Other API servers on the same etcd go by the letter.
            new.data.CopyFrom(old.data)

    def validate_update(self, new: apps.ControllerRevision, old: apps.ControllerRevision) -> list[Cause]:
        return [] if new.data == old.data else [invalid(Path("data"), CUT if new.data.raw else None, IMMUTABLE)]

    def cells(self, obj: apps.ControllerRevision, now: datetime) -> list[object]:
        owner = next((owner for owner in obj.metadata.owner_references if owner.controller), None)
        return [obj.metadata.name, _owner_text(owner) if owner else NONE, obj.revision, age(obj, now)]


def _plain(raw: bytes) -> Any:
    """What a JSON text says: how it is spelled is no part of it. Other bytes are what they are."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw


def _owner_text(owner: meta.OwnerReference) -> str:
    """``statefulset.apps/web``."""
    group = owner.api_version.rpartition("/")[0]
    return f"{owner.kind.lower()}{'.' + group if group else ''}/{owner.name}"
