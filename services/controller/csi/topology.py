"""Where a new volume has to be reachable from, and where one that was made is. Pure. Specified by Kubernetes' external provisioner."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.csi.v1 import volume_pb2 as csi
from knarr.api.storage.v1 import storage_pb2 as storage
from knarr.objects.csi import driver_on
from services.controller.csi.capabilities import Refused

# A class whose topologies multiply to more than these is malformed.
MOST_TERMS = 4096
# Keys and values, sorted by key: a part of the world that can be compared.
Term = tuple[tuple[str, str], ...]


class Elsewhere(Exception):
    """The chosen node will not do; another one may: the words of the event."""


@dataclass(frozen=True, slots=True)
class Places:
    """What is known of nodes: by name, themselves and what drivers say of them."""

    nodes: Mapping[str, core.Node]
    drivers: Mapping[str, storage.CSINode]

    @classmethod
    def of(cls, nodes: Iterable[core.Node], drivers: Iterable[storage.CSINode]) -> Places:
        return cls({node.metadata.name: node for node in nodes}, {node.metadata.name: node for node in drivers})


def requirement(
    driver: str, allowed: Sequence[core.TopologySelectorTerm], selected: str, claim: str, places: Places
) -> csi.TopologyRequirement | None:
    """For a driver that has topology; None where a class says nothing that counts. ``selected``: the chosen node, ``claim``: its name.

    Raises Elsewhere, or Refused where it is too early, or never right.
    """
    chosen = _of_selected(driver, selected, places) if selected else None
    if allowed:
        terms = flattened(allowed)
    else:
        terms = segments(driver, places, keys=[key for key, _ in chosen] if chosen is not None else None)
        if not terms:
            raise Refused("error generating accessibility requirements: no available topology found")
    if not terms:
        return None
    first = _first(terms, chosen) if chosen is not None else _spread(claim) % len(terms)
    if first is None:
        raise Elsewhere(f'topology {chosen} from selected node "{selected}" is not in requisite: {terms}')
    made = csi.TopologyRequirement()
    made.requisite.extend(csi.Topology(segments=dict(term)) for term in terms)
    made.preferred.extend(csi.Topology(segments=dict(term)) for term in (*terms[first:], *terms[:first]))
    return made


def segments(driver: str, places: Places, keys: Sequence[str] | None = None) -> list[Term]:
    """The parts of the world in which a driver runs; ``keys``: by those of one node, where all nodes' need not be the same."""
    found = set[Term]()
    for name, told in places.drivers.items():
        there, node = driver_on(told, driver), places.nodes.get(name)
        if there is not None and node is not None and there.topology_keys:
            term = _term(keys or there.topology_keys, node)
            if term is not None:
                found.add(term)
    return sorted(found)


def flattened(allowed: Iterable[core.TopologySelectorTerm]) -> list[Term]:
    """Each combination of values that a class allows. Raises Refused for more than can be told a driver."""
    found = set[Term]()
    for term in allowed:
        rules = [[(rule.key, value) for value in rule.values] for rule in term.match_label_expressions]
        for values in itertools.islice(itertools.product(*rules), MOST_TERMS + 1):
            if values:
                found.add(tuple(sorted(values)))
        if len(found) > MOST_TERMS:
            raise Refused(f"allowedTopologies of the class are more than {MOST_TERMS} combinations: name fewer values")
    return sorted(found)


def node_affinity(accessible: Iterable[csi.Topology]) -> core.VolumeNodeAffinity | None:
    """From which nodes a volume that was made can be used; None: from all."""
    made = core.VolumeNodeAffinity()
    for topology in accessible:
        if topology.segments:
            term = made.required.node_selector_terms.add()
            for key, value in sorted(topology.segments.items()):
                term.match_expressions.add(key=key, operator="In", values=[value])
    return made if made.HasField("required") else None


def _of_selected(driver: str, name: str, places: Places) -> Term:
    told = places.drivers.get(name)
    if told is None or name not in places.nodes:
        raise Elsewhere(
            f'error generating accessibility requirements: failed to get selected CSINode {name}: node or CSINode "{name}" not found'
        )
    there = driver_on(told, driver)
    if there is None or not there.topology_keys:
        raise Refused(f"error generating accessibility requirements: no topology key found for node {name}")
    term = _term(there.topology_keys, places.nodes[name])
    if term is None:
        words = f"topology labels from selected node {name} does not match topology keys from CSINode {list(there.topology_keys)}"
        raise Refused(f"error generating accessibility requirements: {words}")
    return term


def _term(keys: Iterable[str], node: core.Node) -> Term | None:
    labels = node.metadata.labels
    wanted = sorted(set(keys))
    return tuple((key, labels[key]) for key in wanted) if all(key in labels for key in wanted) else None


def _first(terms: Sequence[Term], chosen: Term) -> int | None:
    """The first that is where the chosen node is."""
    return next((place for place, term in enumerate(terms) if set(term) <= set(chosen)), None)


def _spread(claim: str) -> int:
    """Claims of a StatefulSet begin at different places one after the other: by the hash of their common name, and their ordinal."""
    base, _, last = claim.rpartition("-")
    ordinal = int(last) if last.isascii() and last.isdigit() and len(last) < 10 else 0
    value = 2166136261
    for byte in (base if last.isdigit() else claim).encode():
        value = (value * 16777619) % 2**32 ^ byte
    return value + ordinal
