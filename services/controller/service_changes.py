"""Which Services a change concerns: the Service itself, or those that select a changed pod."""

from __future__ import annotations

from collections.abc import Callable

from knarr.api.core.v1 import core_pb2 as core
from knarr.client.informer import Informers
from knarr.client.keys import Key, key_of
from services.controller.backends import matters


def watch_services_and_pods(informers: Informers, enqueue: Callable[[Key], None]) -> None:
    """Enqueues the key of every Service whose endpoints a change can touch."""
    services = informers.get(core.Service)

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
