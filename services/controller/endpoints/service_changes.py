"""Which Services a change concerns (the Service itself, or those that select a changed pod), and which pods a Service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.index import Index
from knarr.client.informer import Informers
from knarr.client.store import Store
from knarr.objects.keys import Key, key_of
from services.controller.endpoints.backends import matters, zone_of
from services.controller.pods import BY_NODE


def _label_entries(pod: core.Pod) -> Iterable[str]:
    return [_entry(pod.metadata.namespace, name, value) for name, value in pod.metadata.labels.items()]


def _selector_entry(service: core.Service) -> Iterable[str]:
    """One pair of its selector, always the same one: whatever it selects carries it."""
    return [_entry(service.metadata.namespace, *pair) for pair in sorted(service.spec.selector.items())[:1]]


def _entry(namespace: str, name: str, value: str) -> str:
    return f"{namespace}/{name}={value}"


# By one "namespace/label=value" of theirs. ``candidates`` needs the first, ``selecting`` the second.
BY_LABEL: Index[core.Pod] = Index("label", _label_entries)
BY_SELECTOR: Index[core.Service] = Index("selector", _selector_entry)


def candidates(pods: Store[core.Pod], service: core.Service) -> Sequence[core.Pod]:
    """Few pods among which are all that a Service with a selector selects: those that carry the rarest of its labels."""
    namespace = service.metadata.namespace
    return min((pods.index(BY_LABEL, _entry(namespace, *pair)) for pair in service.spec.selector.items()), key=len)


def selecting(services: Store[core.Service], namespace: str, labels: Mapping[str, str]) -> Iterator[core.Service]:
    """The Services that select what carries ``labels``; looks only at those that name one of them."""
    carried = labels.items()
    for pair in carried:
        for service in services.index(BY_SELECTOR, _entry(namespace, *pair)):
            if dict(service.spec.selector).items() <= carried:
                yield service


def watch_services_and_pods(informers: Informers, enqueue: Callable[[Key], None]) -> None:
    """Enqueues the key of every Service whose endpoints a change can touch."""
    services = informers.get(core.Service)
    informers.get(core.Pod).add_index(BY_LABEL)
    services.add_index(BY_SELECTOR)

    def service_changed(old: core.Service | None, new: core.Service | None) -> None:
        changed = new if new is not None else old
        if changed is not None:
            enqueue(key_of(changed))

    def pod_changed(old: core.Pod | None, new: core.Pod | None) -> None:
        if not matters(old, new):
            return
        for pod in (old, new):
            if pod is not None:
                for service in selecting(services.store, pod.metadata.namespace, dict(pod.metadata.labels)):
                    enqueue(key_of(service))

    services.on_change(service_changed)
    informers.get(core.Pod).on_change(pod_changed)


def watch_nodes(informers: Informers, enqueue: Callable[[Key], None]) -> None:
    """Enqueues the Services of a node's pods when it comes, goes or is said to be in another zone."""
    services, pods = informers.get(core.Service), informers.get(core.Pod)
    pods.add_index(BY_NODE)
    services.add_index(BY_SELECTOR)

    def node_changed(old: core.Node | None, new: core.Node | None) -> None:
        if (old is None) == (new is None) and zone_of(old) == zone_of(new):
            return
        changed = new if new is not None else old
        for pod in () if changed is None else pods.store.index(BY_NODE, changed.metadata.name):
            for service in selecting(services.store, pod.metadata.namespace, dict(pod.metadata.labels)):
                enqueue(key_of(service))

    informers.get(core.Node).on_change(node_changed)
