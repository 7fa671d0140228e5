"""What the report of a failed test is told of its namespace: why pods are not ready, and the last events."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from knarr.pytest.access import Refused

if TYPE_CHECKING:
    from knarr.pytest.access import Access

SHOWN_PODS, SHOWN_EVENTS = 10, 20
FINE = frozenset({"Succeeded"})


def explained(api: Access, namespace: str) -> str:
    """Never raises: a report is not to be lost for it."""
    try:
        pods = api.request("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
        events = api.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    except (OSError, Refused, ValueError) as error:
        return f"the cluster could not be asked: {error}"
    return "\n".join([*_pods(pods), *_events(events)])


def _pods(pods: list[dict[str, Any]]) -> Iterator[str]:
    troubled = [pod for pod in pods if pod["status"].get("phase") not in FINE and not _is_ready(pod)]
    yield f"pods: {len(pods)}, of them not ready: {len(troubled)}"
    for pod in troubled[:SHOWN_PODS]:
        why = "; ".join(_reasons(pod)) or "nothing was said of it yet"
        yield f"pod {pod['metadata']['name']} is {pod['status'].get('phase', 'new')}: {why}"


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in pod["status"].get("conditions", ()))


def _reasons(pod: dict[str, Any]) -> Iterator[str]:
    """What the scheduler says of it, then what each container waits for."""
    for entry in pod["status"].get("conditions", ()):
        if entry["type"] == "PodScheduled" and entry["status"] == "False":
            yield entry.get("message", entry.get("reason", ""))
    for container in pod["status"].get("containerStatuses", ()):
        for state in ("waiting", "terminated"):
            if found := container.get("state", {}).get(state):
                yield f"{container['name']}: {' '.join(filter(None, (found.get('reason'), found.get('message'))))}"


def _events(events: list[dict[str, Any]]) -> Iterator[str]:
    def last(event: dict[str, Any]) -> str:
        return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"])

    yield f"events: {len(events)}{f', the last {SHOWN_EVENTS}:' if len(events) > SHOWN_EVENTS else ''}"
    for event in sorted(events, key=last)[-SHOWN_EVENTS:]:
        about = event.get("involvedObject", {})
        yield f"{event.get('type')} {event.get('reason')} {about.get('kind', '').lower()}/{about.get('name')}: {event.get('message', '')}"
