"""Services: who wants a load balancer, which nodes carry its traffic, and what is to be done next."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from knarr.api.cloud.v1 import provider_pb2 as cloud
from knarr.api.core.v1 import core_pb2 as core
from knarr.objects.conditions import is_true
from knarr.objects.keys import is_deleting
from knarr.objects.labels import EXCLUDED

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
GOING_TAINT = "ToBeDeletedByClusterAutoscaler"
# Written by kubectl with every change, and a copy of what stands elsewhere.
IGNORED_ANNOTATIONS = ("kubectl.kubernetes.io/last-applied-configuration",)


class Step(enum.Enum):
    """What is to be done for a Service."""

    NOTHING = "nothing"
    ENSURE = "ensure"
    UPDATE = "update"
    # Write once more what the provider has answered: the Service does not say it.
    WRITE = "write"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class NodeSet:
    """The nodes that may carry traffic, by name; two sets are equal when a load balancer cannot tell them apart."""

    names: tuple[str, ...]
    facts: tuple[object, ...]

    @classmethod
    def of(cls, nodes: Sequence[core.Node]) -> NodeSet:
        return cls(tuple(node.metadata.name for node in nodes), tuple(_facts(node) for node in nodes))


@dataclass(frozen=True, slots=True)
class Made:
    """What this manager has asked for: for which Service as it was then, for which nodes, and the answer; None: there was none yet.

    ``check_at``: the loop's time at which it is to be ensured again, in case somebody has changed it at the provider.
    """

    service: core.Service
    nodes: NodeSet
    answer: cloud.LoadBalancer | None
    check_at: float = float("inf")


def class_of(provider: str) -> str:
    """The loadBalancerClass by which a Service may ask for this provider by name."""
    return f"knarr.io/{provider}"


def is_foreign(service: core.Service, provider: str) -> bool:
    """Whether its class leaves it to another implementation."""
    return service.spec.HasField("load_balancer_class") and service.spec.load_balancer_class != class_of(provider)


def wants(service: core.Service) -> bool:
    """Whether it is to have a load balancer, ours or another's."""
    return bool(service.spec.type == "LoadBalancer") and not is_deleting(service)


def has_finalizer(service: core.Service) -> bool:
    return FINALIZER in service.metadata.finalizers


def excluded(node: core.Node) -> str:
    """Why a node carries no traffic of load balancers; empty when it does."""
    if is_deleting(node):
        return "it is being deleted"
    if EXCLUDED in node.metadata.labels:
        return f"it has the label {EXCLUDED}"
    if any(taint.key == GOING_TAINT for taint in node.spec.taints):
        return f"it has the taint {GOING_TAINT}"
    if not is_true(node.status, "Ready"):
        return "it is not ready"
    return ""


def carriers(nodes: Iterable[core.Node]) -> list[core.Node]:
    """The nodes that carry traffic, by name.

    When none is ready, those that would if they were: all of them falling silent at once tells more about the control plane than about
    them, and a load balancer without nodes helps nobody.
    """
    reasons = {node.metadata.name: (excluded(node), node) for node in sorted(nodes, key=lambda node: str(node.metadata.name))}
    ready = [node for reason, node in reasons.values() if not reason]
    return ready or [node for reason, node in reasons.values() if reason == "it is not ready"]


def wishes(service: core.Service, own: Iterable[str] = ()) -> bytes:
    """All that a provider may go by: the spec and the annotations without ``own``, those that it has set itself."""
    seen = core.Service(spec=service.spec)
    seen.metadata.uid = service.metadata.uid
    for name in sorted(service.metadata.annotations):
        if name not in IGNORED_ANNOTATIONS and name not in own:
            seen.metadata.annotations[name] = service.metadata.annotations[name]
    return bytes(seen.SerializeToString(deterministic=True))


def differ(service: core.Service, made: Made) -> bool:
    """Whether the Service wishes for something else than what was answered last."""
    if made.answer is None:
        return True
    own = made.answer.annotations
    return wishes(service, own) != wishes(made.service, own)


def in_force(service: core.Service, answer: cloud.LoadBalancer) -> bool:
    """Whether the Service says what the provider has answered."""
    return bool(service.status.load_balancer == answer.status) and not annotation_changes(service, answer)


def annotation_changes(service: core.Service, answer: cloud.LoadBalancer) -> dict[str, str | None]:
    """Annotations to write, None for one to remove."""
    have = service.metadata.annotations
    wanted = {name: value or None for name, value in answer.annotations.items()}
    return {name: value for name, value in wanted.items() if have.get(name) != value}


def decide(service: core.Service | None, made: Made | None, nodes: NodeSet, provider: str, *, asked: bool = False) -> Step:
    """The next step for one Service. ``made`` is None for one that this manager has not worked for yet; ``asked``: ensure it again."""
    if service is None:
        return Step.DELETE if made is not None else Step.NOTHING
    if made is not None and made.service.metadata.uid != service.metadata.uid:
        return Step.DELETE
    if is_foreign(service, provider):
        # Ours once, while it was of another class: what was made is given back.
        return Step.NOTHING if made is None else Step.DELETE
    if not wants(service):
        return Step.DELETE if has_finalizer(service) or made is not None else Step.NOTHING
    if made is None or made.answer is None:
        return Step.ENSURE
    if asked or differ(service, made):
        return Step.ENSURE
    if nodes != made.nodes:
        return Step.UPDATE
    return Step.NOTHING if in_force(service, made.answer) and has_finalizer(service) else Step.WRITE


def standing(node: core.Node) -> tuple[str, object]:
    """Whatever of a node can change the set of carriers, or what is told of it."""
    return excluded(node), _facts(node)


def _facts(node: core.Node) -> object:
    addresses = tuple((address.type, address.address) for address in node.status.addresses)
    return node.metadata.uid, node.spec.provider_id, addresses
