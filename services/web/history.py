"""What the recorder remembers, as the page shows it: changes, what each changed, and the chain from an apply to a ready endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

import orjson

from services.web.packed import ObjectKey
from services.web.recorder import ADDED, Change, Recorder

Obj = Mapping[str, Any]
Holds = Callable[[Obj], bool]
# Of one answer.
MOST_CHANGES = 1000
OWNERS = {"ReplicaSet": "replicasets", "Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets", "Job": "jobs"}
# What changes with every write, and says nothing.
SILENT = ("metadata.resourceVersion", "metadata.managedFields")


def told(change: Change) -> dict[str, Any]:
    """A change without what it changed; ``at`` in milliseconds since 1970."""
    resource, namespace, name = change.key
    facts = {"revision": change.revision, "at": round(change.at * 1000), "type": change.type, "writer": change.writer}
    return facts | {"resource": resource, "namespace": namespace, "name": name}


def latest(recorder: Recorder, most: int, namespace: str = "", key: ObjectKey | None = None) -> list[dict[str, Any]]:
    """The newest changes, the newest first, but no more than MOST_CHANGES; of a namespace, or of one object, where they are named."""
    wanted = (one for one in reversed(recorder.changes) if namespace in ("", one.key.namespace) and key in (None, one.key))
    return [told(change) for change in islice(wanted, min(most, MOST_CHANGES))]


def changed(recorder: Recorder, revision: int) -> dict[str, Any]:
    """A change with its differences. Raises LookupError where it is not remembered."""
    change, after = recorder.change(revision)
    before = change.text_before
    found = differences(orjson.loads(before or b"null"), None if change.type == "DELETED" else orjson.loads(after or b"null"))
    return told(change) | {"differences": found}


def differences(before: Any, after: Any) -> list[dict[str, Any]]:
    """Each path at which two values are other, with both; None stands for what is not there."""
    return [{"path": path, "before": old, "after": new} for path, old, new in _different("", before, after) if not path.startswith(SILENT)]


def _different(path: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(name for name in after if name not in before)]:
            yield from _different(f"{path}.{name}" if path else name, before.get(name), after.get(name))
    elif isinstance(before, list) and isinstance(after, list):
        old, new = _by_name(before), _by_name(after)
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _different(f"{path}[{name}]", old.get(name), new.get(name))
    else:
        yield path, before, after


def _by_name(items: Sequence[Any]) -> dict[str, Any]:
    """Members by what tells them apart in Kubernetes' lists, else by their places."""
    for field in ("name", "type", "ip", "uid"):
        names = [item.get(field) if isinstance(item, dict) else None for item in items]
        if all(isinstance(name, str) for name in names) and len(set(names)) == len(names):
            return dict(zip(map(str, names), items, strict=True))
    return {str(place): item for place, item in enumerate(items)}


def versions(recorder: Recorder, key: ObjectKey, mentioning: str = "") -> Iterator[tuple[Change, Obj]]:
    """Each remembered change of an object with the object after it, the oldest first; deletions are left out, and what does not have a
    word in its JSON. Unpacked one by one: of what is remembered, all at once may be a thousand times as large."""
    changes = [change for change in recorder.changes if change.key == key]
    for change, later in zip_longest(changes, changes[1:]):
        text = recorder.text(key) if later is None else later.text_before
        if text is not None and mentioning.encode() in text:
            yield change, orjson.loads(text)


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a chain; ``at`` is when it was heard of, milliseconds since 1970."""

    step: str
    at: int
    revision: int
    resource: str
    name: str
    writer: str
    # How much earlier it may have been, in milliseconds.
    within: int = 0


def chain(recorder: Recorder, pod: ObjectKey) -> list[Link]:
    """From what made a pod to it being an endpoint that is ready, as far as it is remembered and has come."""
    links: list[Link] = []
    born, first = next(versions(recorder, pod), (None, {}))
    if born is not None and born.type == ADDED:
        links += [*_owners(recorder, first, pod.namespace, born.revision), _link("pod", born)]
    links += _first(versions(recorder, pod), POD_STEPS)
    for key in {change.key for change in recorder.changes if change.key[:2] == ("endpointslices", pod.namespace)}:
        links += _first(versions(recorder, key, pod.name), {"endpoint": lambda piece: _serves(piece, pod)})
    return sorted(links, key=lambda link: link.at)


def _link(step: str, change: Change) -> Link:
    return Link(step, round(change.at * 1000), change.revision, change.key.resource, change.key.name, change.writer)


def _owners(recorder: Recorder, obj: Obj, namespace: str, before: int) -> Iterator[Link]:
    """The last change of the specification of each owner, up to the first, before a revision."""
    owner = next((one for one in obj["metadata"].get("ownerReferences") or () if one.get("controller")), None)
    if owner is None or owner["kind"] not in OWNERS:
        return
    key = ObjectKey(OWNERS[owner["kind"]], namespace, owner["name"])
    meant: Change | None = None
    generation = None
    found = recorder.get(key)
    for change, then in versions(recorder, key):
        if change.revision < before and then["metadata"].get("generation") != generation:
            meant, generation, found = change, then["metadata"].get("generation"), dict(then)
    if found is not None:
        yield from _owners(recorder, found, namespace, meant.revision if meant is not None else before)
    if meant is not None:
        yield _link("apply" if not _controlled(found) else "owner", meant)


def _controlled(obj: Obj | None) -> bool:
    return obj is not None and any(one.get("controller") for one in obj["metadata"].get("ownerReferences") or ())


def _first(lives: Iterable[tuple[Change, Obj]], steps: Mapping[str, Holds]) -> Iterator[Link]:
    """The changes with which something began to hold; none where it held when recording began."""
    awaited = dict(steps)
    for change, obj in lives:
        for step in [step for step, holds in awaited.items() if holds(obj)]:
            holds = awaited.pop(step)
            if not _held_before(change, holds):
                yield _link(step, change)
        if not awaited:
            return


def _held_before(change: Change, holds: Holds) -> bool:
    return change.text_before is not None and holds(orjson.loads(change.text_before))


def _running(pod: Obj) -> bool:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return bool(statuses) and all("running" in (one.get("state") or {}) for one in statuses)


def _ready(pod: Obj) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in (pod.get("status") or {}).get("conditions") or ())


POD_STEPS: Mapping[str, Holds] = {"bind": lambda pod: bool(pod["spec"].get("nodeName")), "start": _running, "ready": _ready}


def _serves(piece: Obj, pod: ObjectKey) -> bool:
    return any(
        (one.get("targetRef") or {}).get("name") == pod.name
        and piece["metadata"]["namespace"] == pod.namespace
        and (one.get("conditions") or {}).get("ready") is not False
        for one in piece.get("endpoints") or ()
    )
