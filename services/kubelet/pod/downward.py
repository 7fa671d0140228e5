"""The downward API: fields and resources of a pod as text, for its environment and volumes. Pure."""

from __future__ import annotations

import re

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery import quantity
from knarr.objects.pods import init_and_main_containers
from services.kubelet.node.view import NodeView

# What a container without a limit may use is all that pods may; huge pages must be asked for.
BOUND_BY_NODE = ("cpu", "memory", "ephemeral-storage")
ESCAPES = {letter: f"\\{name}" for letter, name in zip('\a\b\f\n\r\t\v\\"', 'abfnrtv\\"', strict=True)}
_SUBSCRIPT = re.compile(r"^metadata\.(labels|annotations)\['([^']+)'\]$")


class UnknownField(Exception):
    """A fieldRef or resourceFieldRef that cannot be answered."""


def field_value(pod: core.Pod, path: str, node: NodeView, pod_ip: str) -> str:
    """The text of a fieldRef; raises UnknownField."""
    subscript = _SUBSCRIPT.match(path)
    if subscript:
        values = pod.metadata.labels if subscript[1] == "labels" else pod.metadata.annotations
        return str(values.get(subscript[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        values = pod.metadata.labels if path.endswith("labels") else pod.metadata.annotations
        return "\n".join(f"{key}={_quoted(values[key])}" for key in sorted(values))
    plain = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": node.name,
        "spec.serviceAccountName": pod.spec.service_account_name or "default",
        "status.hostIP": node.ip,
        "status.hostIPs": node.ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }
    if path not in plain:
        raise UnknownField(f"unsupported fieldPath: {path}")
    return plain[path]


def resource_value(pod: core.Pod, selector: core.ResourceFieldSelector, default_container: str, node: NodeView) -> str:
    """The text of a resourceFieldRef, divided and rounded up; raises UnknownField."""
    name = selector.container_name or default_container
    spec = next((found for found in init_and_main_containers(pod.spec) if found.name == name), None)
    kind, _, resource = selector.resource.partition(".")
    if spec is None or kind not in ("limits", "requests") or not resource:
        raise UnknownField(f"unsupported container resource: {selector.resource} of {name}")
    values = spec.resources.limits if kind == "limits" else spec.resources.requests
    amount = quantity.milli(values[resource].string) if resource in values else 0
    if not amount and kind == "limits" and resource in BOUND_BY_NODE:
        amount = quantity.milli(node.allocatable.get(resource, "0"))
    divisor = quantity.milli(selector.divisor.string) if selector.divisor.string not in ("", "0") else 1000
    return str(-(-amount // divisor))


def _quoted(text: str) -> str:
    """As Go's %q writes it, by which readers of these files take it apart again."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in ESCAPES:
        return ESCAPES[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
