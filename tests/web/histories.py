"""Things that are made, changed and deleted, as the API server tells of them."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from services.web.recorder import ADDED, DELETED, MODIFIED, Recorder

Values = dict[str, Any]


def thing(name: str, revision: int, value: Any = None, *writers: tuple[str, str]) -> dict[str, Any]:
    """Each writer with when it wrote last."""
    fields = [{"manager": manager, "operation": "Update", "time": time} for manager, time in writers]
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(revision), "managedFields": fields}
    return {"metadata": metadata, "value": value}


def lived_through(recorder: Recorder, names: str, revisions: int, *, seed: int) -> Iterator[tuple[int, Values]]:
    """Has it hear of one change of a random thing after another, up to so many revisions; each with what there is then."""
    source = random.Random(seed)
    now: Values = {}
    for revision in range(2, revisions):
        name = source.choice(names)
        if name in now and source.random() < 0.3:
            del now[name]
            recorder.take("things", DELETED, thing(name, revision))
        else:
            recorder.take("things", MODIFIED if name in now else ADDED, thing(name, revision, revision))
            now[name] = revision
        yield revision, dict(now)
