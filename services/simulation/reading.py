"""A file of kind Trace. Everything that is wrong is told by its field. docs/scale.md describes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import catalog, codec, quantity, validation
from knarr.machinery.errors import StatusError
from knarr.machinery.yaml_text import yaml_documents
from knarr.objects.hollow import MOST_NODES
from knarr.objects.tolerations import parse_taint
from knarr.service.configuration_file import document_of, read_configuration, refuse_others, seconds_of
from services.kubelet.hollow_faults import DELAYS
from services.kubelet.runtime.hollow import HollowSettings
from services.simulation.short_form import Arrivals, Short
from services.simulation.trace import MOST_PODS, NodeChange, NodeGroup, Trace, Workload, WorkloadChange

API_VERSION, KIND = "knarr.dev/v1", "Trace"
NODE_CHANGES = ("add", "remove", "fail")
SHORT = ("name", "namespace", "replicas", "requests", "duration", "arrivals", "nodeSelector", "tolerations", "priorityClassName")
LONGEST_SECONDS = 366 * 86_400.0
MOST_REPLICAS, MOST_SAMPLES = 1_000_000, 1_000
ROWS = 10
DEFAULT_UNTIL = 600.0


def read_trace(file: Path, seed: int | None = None) -> Trace:
    """``seed`` goes before the file's. Raises CommandError with the file and the field that is wrong."""
    return read_configuration(file, KIND, partial(parse_trace, folder=file.parent, given_seed=seed))


def parse_trace(text: bytes, folder: Path, given_seed: int | None = None) -> Trace:
    """``folder``: what the files of manifests lie in. Raises ValueError with the field that is wrong."""
    document = document_of(text, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "metadata", "seed", "until", "sample", "nodes", "workloads")
    seed = _number(document.get("seed", 0), "seed", 0, 2**31)
    seed = seed if given_seed is None else given_seed
    until = _seconds(document["until"], "until", least=1.0) if "until" in document else DEFAULT_UNTIL
    sample = _seconds(document["sample"], "sample", least=until / MOST_SAMPLES) if "sample" in document else until / ROWS
    nodes = [_group(item, path) for item, path in _items(document, "", "nodes")]
    _refuse_twice([group.name for group in nodes], "nodes", "group")
    if (most := sum(group.count + sum(one.count for one in group.changes if one.what == "add") for group in nodes)) > MOST_NODES:
        raise ValueError(f"nodes: Invalid value: {most} nodes: must be {MOST_NODES} at most")
    workloads = [one for item, path in _items(document, "", "workloads") for one in _workloads(item, path, folder, seed)]
    return Trace(nodes, workloads, until, sample, seed)


def _group(item: Any, path: str) -> NodeGroup:
    refuse_others(item, path, "group", "count", "cpu", "memory", "pods", "labels", "taints", "at", "changes", *DELAYS)
    delays = {field: _seconds(item[name], f"{path}.{name}") for name, field in DELAYS.items() if name in item}
    return NodeGroup(
        _name(_required(item, path, "group"), f"{path}.group"),
        _number(item.get("count", 1), f"{path}.count", 0, MOST_NODES),
        _processors(_required(item, path, "cpu"), f"{path}.cpu"),
        _amount(_required(item, path, "memory"), f"{path}.memory", 1 << 20),
        _number(item.get("pods", 110), f"{path}.pods", 1, MOST_PODS),
        _words(item.get("labels", {}), f"{path}.labels"),
        tuple(_taint(one, f"{path}.taints[{at}]") for at, one in enumerate(_list(item.get("taints", []), f"{path}.taints"))),
        HollowSettings(**delays),  # type: ignore[arg-type]
        _seconds(item.get("at", "0"), f"{path}.at"),
        tuple(_node_change(one, where) for one, where in _items(item, path, "changes")),
    )


def _node_change(item: Any, path: str) -> NodeChange:
    refuse_others(item, path, "at", "for", *NODE_CHANGES)
    found = [name for name in NODE_CHANGES if name in item]
    if len(found) != 1:
        raise ValueError(f"{path}: {'Invalid' if found else 'Required'} value: one of {', '.join(NODE_CHANGES)}, and how many nodes")
    if "for" in item and found != ["fail"]:
        raise ValueError(f"{path}.for: Invalid value: only nodes that fail come back")
    lasts = _seconds(item["for"], f"{path}.for", least=1.0) if "for" in item else None
    count = _number(item[found[0]], f"{path}.{found[0]}", 1, MOST_NODES)
    return NodeChange(_seconds(_required(item, path, "at"), f"{path}.at"), found[0], count, lasts)


def _workloads(item: Any, path: str, folder: Path, seed: int) -> Iterator[Workload]:
    if not isinstance(item, dict):
        raise ValueError(f"{path}: must be a mapping")
    forms = [name for name in ("name", "manifest", "file") if name in item]
    if len(forms) != 1:
        raise ValueError(f"{path}: {'Required' if not forms else 'Invalid'} value: one of name (in a few words), manifest, file")
    refuse_others(item, path, "at", "changes", *(SHORT if forms == ["name"] else forms))
    at = _seconds(item.get("at", "0"), f"{path}.at")
    changes = tuple(_workload_change(one, where) for one, where in _items(item, path, "changes"))
    if forms == ["name"]:
        yield from _short(item, path, at, changes, seed)
    elif forms == ["manifest"]:
        yield Workload(path, at, [_manifest(item["manifest"], f"{path}.manifest")], changes)
    else:
        yield Workload(path, at, _file(item["file"], f"{path}.file", folder), changes)


def _workload_change(item: Any, path: str) -> WorkloadChange:
    refuse_others(item, path, "at", "replicas", "delete")
    if ("replicas" in item) == ("delete" in item):
        raise ValueError(f"{path}: Required value: either replicas or delete: true")
    at = _seconds(_required(item, path, "at"), f"{path}.at")
    if "delete" in item:
        if item["delete"] is not True:
            raise ValueError(f"{path}.delete: Invalid value: {item['delete']!r}: must be true")
        return WorkloadChange(at, None)
    return WorkloadChange(at, _number(item["replicas"], f"{path}.replicas", 0, MOST_REPLICAS))


def _short(item: dict[str, Any], path: str, at: float, changes: Sequence[WorkloadChange], seed: int) -> Iterator[Workload]:
    lasts = _seconds(item["duration"], f"{path}.duration", least=1.0) if "duration" in item else None
    short = Short(
        _name(item["name"], f"{path}.name"),
        _name(item.get("namespace", "default"), f"{path}.namespace"),
        _number(item.get("replicas", 1), f"{path}.replicas", 0 if lasts is None else 1, MOST_REPLICAS),
        _requests(item.get("requests", {}), f"{path}.requests"),
        lasts,
        _words(item.get("nodeSelector", {}), f"{path}.nodeSelector"),
        tuple(_toleration(one, where) for one, where in _items(item, path, "tolerations")),
        str(item.get("priorityClassName", "")),
    )
    if lasts is not None and any(change.replicas is not None for change in changes):
        raise ValueError(f"{path}.changes: Invalid value: what has a duration is a Job, which has no replicas: it can be deleted only")
    if "arrivals" not in item:
        yield Workload(path, at, [short.made(short.name)], changes)
        return
    if changes:
        raise ValueError(f"{path}.changes: Invalid value: what arrives several times has none")
    arrivals = _arrivals(item["arrivals"], f"{path}.arrivals")
    for number, moment in enumerate(arrivals.times(at, f"{seed}/{short.name}"), 1):
        yield Workload(path, moment, [short.made(f"{short.name}-{number}")])


def _arrivals(item: Any, path: str) -> Arrivals:
    refuse_others(item, path, "every", "count", "random")
    if not isinstance(by_chance := item.get("random", False), bool):
        raise ValueError(f"{path}.random: Invalid value: {by_chance!r}: must be true or false")
    every = _seconds(_required(item, path, "every"), f"{path}.every", least=0.001)
    return Arrivals(every, _number(_required(item, path, "count"), f"{path}.count", 1, MOST_REPLICAS), by_chance)


def _file(value: Any, path: str, folder: Path) -> list[Message]:
    try:
        documents = [found for found in yaml_documents((folder / str(value)).read_bytes()) if found is not None]
    except OSError as error:
        raise ValueError(f"{path}: Invalid value: {str(value)!r}: {error.strerror}") from error
    except StatusError as error:
        raise ValueError(f"{path}: Invalid value: {str(value)!r}: {error.status.message}") from error
    if not documents:
        raise ValueError(f"{path}: Invalid value: {str(value)!r}: there is nothing in it")
    return [_manifest(found, f"{path}[{at}]") for at, found in enumerate(documents)]


def _manifest(value: Any, path: str) -> Message:
    """An object of Kubernetes, of any kind that is served."""
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must be an object with apiVersion and kind")
    api_version, kind = str(value.get("apiVersion", "")), str(value.get("kind", ""))
    group, _, version = api_version.rpartition("/")
    served = catalog.registry().named(group, version, kind)
    if served is None:
        raise ValueError(f"{path}: no matches for kind {kind!r} in version {api_version!r}")
    try:
        found: Any = codec.from_json(served.message, value, codec.UnknownFields.REJECT).message
    except StatusError as error:
        raise ValueError(f"{path}: {error.status.message}") from error
    if served.resource.namespaced:
        found.metadata.namespace = found.metadata.namespace or "default"
    if not isinstance(found, Message):
        raise ValueError(f"{path}: {kind} is not an object that is kept")
    return found


def _toleration(value: Any, path: str) -> core.Toleration:
    try:
        return codec.from_json(core.Toleration, value, codec.UnknownFields.REJECT).message
    except StatusError as error:
        raise ValueError(f"{path}: {error.status.message}") from error


def _items(section: Mapping[str, Any], path: str, name: str) -> list[tuple[Any, str]]:
    """Those of a list, each with its path."""
    where = f"{path}.{name}".lstrip(".")
    return [(item, f"{where}[{at}]") for at, item in enumerate(_list(section.get(name, []), where))]


def _list(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{path}: must be a list")
    return value


def _required(item: Mapping[str, Any], path: str, name: str) -> Any:
    if name not in item:
        raise ValueError(f"{path}.{name}: Required value")
    return item[name]


def _refuse_twice(names: Sequence[str], path: str, field: str) -> None:
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ValueError(f"{path}[{at}].{field}: Duplicate value: {name!r}")


def _number(value: Any, path: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(f"{path}: Invalid value: {value!r}: must be a number from {least} to {most}")
    return value


def _name(value: Any, path: str) -> str:
    if not isinstance(value, str) or validation.dns1123_label(value):
        raise ValueError(f"{path}: Invalid value: {value!r}: must be a DNS label, like web-1")
    return value


def _words(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError(f"{path}: must be a mapping of words to words, in quotes where they look like numbers")
    return {str(name): one for name, one in value.items()}


def _taint(value: Any, path: str) -> str:
    try:
        parse_taint(str(value))
    except ValueError as error:
        raise ValueError(f"{path}: Invalid value: {value!r}: {error}") from None
    return str(value)


def _requests(value: Any, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{path}: must be a mapping of resources to amounts")
    for resource, amount in value.items():
        _amount(amount, f"{path}.{resource}", 0, quantity.milli)
    return {str(resource): str(amount) for resource, amount in value.items()}


def _amount(value: Any, path: str, least: int, read: Callable[[str], int] = quantity.value) -> int:
    try:
        found = read(str(value))
    except ValueError as error:
        raise ValueError(f"{path}: Invalid value: {value!r}: {error}") from error
    if found < least:
        raise ValueError(f"{path}: Invalid value: {value!r}: must be {least} or more")
    return found


def _processors(value: Any, path: str) -> int:
    milli = _amount(value, path, 1000, quantity.milli)
    if milli % 1000:
        raise ValueError(f"{path}: Invalid value: {value!r}: a machine has whole processors")
    return milli // 1000


def _seconds(value: Any, path: str, least: float = 0.0) -> float:
    seconds = seconds_of(value, path)
    if not least <= seconds <= LONGEST_SECONDS:
        bounds = f"from {least:g}s to {LONGEST_SECONDS / 3600:g}h"
        raise ValueError(f"{path}: Invalid value: {value!r}: must be {bounds}")
    return seconds
