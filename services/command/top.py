"""``knarr top``: what nodes and pods use now, beside what they have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from knarr.machinery import quantity

METRICS = "/apis/metrics.k8s.io/v1beta1"
MIB = 1 << 20


class Lists(Protocol):
    """The API, as far as it is asked."""

    def objects(self, path: str) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Usage:
    """``cpu`` in thousandths of a processor, ``memory`` in bytes; the shares are of what a node has for pods, None of a pod."""

    namespace: str
    name: str
    cpu: int
    memory: int
    cpu_share: float | None = None
    memory_share: float | None = None


def nodes(api: Lists) -> list[Usage]:
    """By how much of their processors they use."""
    has = {node["metadata"]["name"]: node.get("status", {}).get("allocatable", {}) for node in api.objects("/api/v1/nodes")}
    found = [_of_node(entry, has.get(entry["metadata"]["name"], {})) for entry in api.objects(f"{METRICS}/nodes")]
    return sorted(found, key=lambda usage: (-usage.cpu, usage.name))


def pods(api: Lists, namespace: str) -> list[Usage]:
    """Those of a namespace, or of all (empty), by how much of a processor they use."""
    path = f"{METRICS}/namespaces/{namespace}/pods" if namespace else f"{METRICS}/pods"
    found = [_of_pod(entry) for entry in api.objects(path)]
    return sorted(found, key=lambda usage: (-usage.cpu, usage.namespace, usage.name))


def _of_node(entry: Any, has: Any) -> Usage:
    cpu, memory = _amounts([entry["usage"]])
    have_cpu, have_memory = _amounts([has])
    return Usage("", entry["metadata"]["name"], cpu, memory, _share(cpu, have_cpu), _share(memory, have_memory))


def _of_pod(entry: Any) -> Usage:
    cpu, memory = _amounts([container["usage"] for container in entry.get("containers") or ()])
    return Usage(entry["metadata"]["namespace"], entry["metadata"]["name"], cpu, memory)


def _amounts(usages: Sequence[Any]) -> tuple[int, int]:
    """Sums of thousandths of a processor, and of bytes."""
    cpu = sum(quantity.parse(str(usage.get("cpu", "0"))) * 1000 for usage in usages)
    return round(cpu), round(sum(quantity.parse(str(usage.get("memory", "0"))) for usage in usages))


def _share(used: int, has: int) -> float | None:
    return used / has if has else None


def as_rows(usages: Sequence[Usage]) -> list[list[str]]:
    """A table with its head."""
    of_nodes = not any(usage.namespace for usage in usages)
    head = ["NAME", "CPU", "CPU%", "MEMORY", "MEMORY%"] if of_nodes else ["NAMESPACE", "NAME", "CPU", "MEMORY"]
    return [head, *(_row(usage, of_nodes) for usage in usages)]


def _row(usage: Usage, of_node: bool) -> list[str]:
    cpu, memory = f"{usage.cpu}m", f"{usage.memory // MIB}Mi"
    if of_node:
        return [usage.name, cpu, _percent(usage.cpu_share), memory, _percent(usage.memory_share)]
    return [usage.namespace, usage.name, cpu, memory]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def as_dicts(usages: Sequence[Usage]) -> list[dict[str, Any]]:
    return [asdict(usage) for usage in usages]
