"""Which Services a change concerns (the Service itself, or those that select a changed pod), and which pods a Service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informer, Informers
from knarr.client.keys import Key, key_of
from knarr.client.store import Store
from services.controller.backends import matters

_BY_LABEL = "label"


def index_by_label(pods: Informer[core.Pod]) -> None:
    """What ``candidates`` needs; once more does no harm."""
    pods.add_index(_BY_LABEL, _entries)


def candidates(pods: Store[core.Pod], service: core.Service) -> Sequence[core.Pod]:
    """Few pods among which are all that a Service with a selector selects: those that carry the rarest of its labels."""
    namespace = service.metadata.namespace
    return min((pods.index(_BY_LABEL, _entry(namespace, *pair)) for pair in service.spec.selector.items()), key=len)


def watch_services_and_pods(informers: Informers, enqueue: Callable[[Key], None]) -> None:
    """Enqueues the key of every Service whose endpoints a change can touch."""
    services = informers.get(core.Service)
    index_by_label(informers.get(core.Pod))

    def service_changed(old: core.Service | None, new: core.Service | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            enqueue(key_of(changed))

    def pod_changed(old: core.Pod | None, new: core.Pod | None) -> None:
        pod = new if new is not None else old
        if pod is None or not matters(old, new):
            return
        labels = [dict(seen.metadata.labels).items() for seen in (old, new) if seen is not None]
        for service in services.store.list(pod.metadata.namespace):
            selector = dict(service.spec.selector).items()
            if selector and any(selector <= found for found in labels):
                enqueue(key_of(service))

    services.on_change(service_changed)
    informers.get(core.Pod).on_change(pod_changed)


def _entries(pod: core.Pod) -> Iterable[str]:
    return [_entry(pod.metadata.namespace, name, value) for name, value in pod.metadata.labels.items()]


def _entry(namespace: str, name: str, value: str) -> str:
    return f"{namespace}/{name}={value}"
