"""Which Services a change concerns (the Service itself, or those that select a changed pod), and which pods a Service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.controller import Controller
from knarr.client.index import Index
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


def watch_services_and_pods(controller: Controller) -> tuple[Store[core.Service], Store[core.Pod]]:
    """Enqueues the key of every Service whose endpoints a change can touch; answers the stores that ``candidates`` needs."""
    services = controller.watches(core.Service, BY_SELECTOR)
    pods = controller.watches(core.Pod, BY_LABEL, mapped=lambda pod: _keys_selecting(services, pod), when=matters)
    return services, pods


def watch_nodes(controller: Controller) -> Store[core.Node]:
    """Enqueues the Services of a node's pods when it comes, goes or is said to be in another zone."""
    services, pods = controller.reads(core.Service, BY_SELECTOR), controller.reads(core.Pod, BY_NODE)

    def services_on(node: core.Node) -> Iterator[Key]:
        for pod in pods.index(BY_NODE, node.metadata.name):
            yield from _keys_selecting(services, pod)

    return controller.watches(core.Node, mapped=services_on, when=_changes_zone)


def _keys_selecting(services: Store[core.Service], pod: core.Pod) -> Iterator[Key]:
    return map(key_of, selecting(services, pod.metadata.namespace, dict(pod.metadata.labels)))


def _changes_zone(old: core.Node | None, new: core.Node | None) -> bool:
    return (old is None) != (new is None) or zone_of(old) != zone_of(new)
