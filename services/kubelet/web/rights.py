"""What a caller of the kubelet's HTTPS must be permitted: a verb on one of several sub-resources of the Node, as Kubernetes' kubelet has it
(KubeletFineGrainedAuthz). Pure."""

from __future__ import annotations

from knarr.service.access import Right

VERBS = {"POST": "create", "GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
# Paths with what is below them, and their own sub-resource. With those after the first line `proxy` does, too.
ALONE = {"stats": "stats", "metrics": "metrics", "logs": "log", "checkpoint": "checkpoint"}
FINE = {"pods": "pods", "runningpods": "pods", "healthz": "healthz", "configz": "configz"}
ALL = "proxy"
# What these do is no reading, by whatever method they are asked: the handshake of a WebSocket is a GET.
DOING = ("exec", "attach", "portForward", "run")


def subresources(path: str) -> tuple[str, ...]:
    """Whoever may do one of them may ask for ``path``."""
    first = path.removeprefix("/").partition("/")[0]
    if first in ALONE:
        return (ALONE[first],)
    return (FINE[first], ALL) if first in FINE else (ALL,)


def rights(method: str, path: str, node: str) -> list[Right]:
    """One of these is needed. An unknown method has no verb, which nobody is permitted."""
    verb = VERBS.get(method, "")
    if verb and path.removeprefix("/").partition("/")[0] in DOING:
        verb = "create"
    return [Right(verb, resource="nodes", subresource=found, name=node) for found in subresources(path)]
