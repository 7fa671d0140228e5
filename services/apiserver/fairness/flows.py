"""Flows, as they follow from the objects in the watch cache; worked out anew once one of those has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from knarr.api.flowcontrol.v1 import flowcontrol_pb2 as flowcontrol
from knarr.machinery.catalog import version_of
from knarr.service.authentication import User
from services.apiserver.cache.watch_cache import WatchCache
from services.apiserver.entries import Entries
from services.apiserver.fairness.hands import dealt, flow_hash
from services.apiserver.fairness.level import Level, Seats, Shape
from services.apiserver.fairness.metrics import FlowCounts, counts_of
from services.apiserver.fairness.schemas import Asked, Schema, in_order, shape_of
from services.apiserver.fairness.suggested import EVERYBODY, levels, mandatory_levels, mandatory_schemas, schemas

SCHEMAS, LEVELS = (version_of(kind).resource for kind in (flowcontrol.FlowSchema, flowcontrol.PriorityLevelConfiguration))
# Kinds of requests that are classified once.
REMEMBERED = 4096


@dataclass(slots=True, eq=False)
class Flow:
    """Requests that wait for one another, of one schema, told from its other flows by ``distinguisher``. ``marks`` are the headers
    that tell of it, as they are written."""

    schema: Schema
    level: Level
    hand: tuple[int, ...]
    marks: bytes
    counts: FlowCounts
    distinguisher: str


class Flows:
    """Asked for each request, and told to ``follow`` before the first. In place of objects that are not there, Kubernetes' own hold."""

    def __init__(self, cache: WatchCache, total_seats: int) -> None:
        self._cache, self._total = cache, total_seats
        self._seen: tuple[Entries, Entries] | None = None
        self._has_changed = False
        self._known: dict[tuple[Any, ...], Flow] = {}
        self._flows: dict[tuple[str, str], Flow] = {}
        self._schemas: Sequence[Schema] = ()
        self._levels: dict[str, Level] = {}
        self._level_uids: dict[str, str] = {}
        self.seats = Seats(total_seats, ())
        self.on_change: Callable[[], None] = _nothing

    @property
    def levels(self) -> Sequence[Level]:
        return list(self._levels.values())

    def of_resource(self, user: User, verb: str, group: str, plural: str, subresource: str, namespace: str) -> Flow:
        """The flow of a request about a resource."""
        key = (user.name, user.groups, verb, group, plural, subresource, namespace)
        found = self._known.get(key)
        if found is None:
            resource = f"{plural}/{subresource}" if subresource else plural
            found = self._keep(key, Asked(user, verb, group, resource, namespace))
        return found

    def of_path(self, user: User, verb: str, path: str) -> Flow:
        """The flow of a request about what is no resource."""
        key = (user.name, user.groups, verb, path)
        return self._known.get(key) or self._keep(key, Asked(user, verb, path=path))

    def _keep(self, key: tuple[Any, ...], asked: Asked) -> Flow:
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        found = self._known[key] = self._classified(asked)
        return found

    def _classified(self, asked: Asked) -> Flow:
        schema = next((schema for schema in self._schemas if schema.covers(asked)), EVERYBODY)
        distinguisher = schema.distinguisher(asked)
        found = self._flows.get((schema.name, distinguisher))
        if found is None:
            if len(self._flows) >= REMEMBERED:
                self._flows.clear()
            found = self._flows[schema.name, distinguisher] = self._flow(schema, distinguisher)
        return found

    def _flow(self, schema: Schema, distinguisher: str) -> Flow:
        level = self._levels.get(schema.level) or self._levels["catch-all"]
        shape = level.shape
        hand = dealt(flow_hash(schema.name, distinguisher), shape.queues, shape.hand_size) if shape.queues else ()
        uid = self._level_uids.get(level.name, "")
        marks = b"x-kubernetes-pf-flowschema-uid: %b\r\nx-kubernetes-pf-prioritylevel-uid: %b\r\n" % (schema.uid.encode(), uid.encode())
        return Flow(schema, level, hand, marks if uid else b"", counts_of(schema.name, level.name), distinguisher)

    def follow(self) -> None:
        """Takes in what has changed. A listing is the same until something of it changes; whether anything has is told, as to look costs
        a microsecond."""
        seen = self._seen
        if seen is not None and not self._has_changed:
            return
        collections, self._has_changed = [self._cache.collection(kind) for kind in (SCHEMAS, LEVELS)], False
        now = collections[0].listing(SCHEMAS.key_prefix), collections[1].listing(LEVELS.key_prefix)
        if seen is None:
            for collection in collections:
                collection.listen(self._change)
        if seen is None or now[0] is not seen[0] or now[1] is not seen[1]:
            self._read(now)

    def _change(self) -> None:
        self._has_changed = True

    def _read(self, seen: tuple[Entries, Entries]) -> None:
        self._seen = seen
        self._known.clear()
        self._flows.clear()
        own_schemas, own_levels = ([entry.shared_message for entry in found] for found in seen)
        # Before the first objects are there all of Kubernetes' own hold, later those without which there is none.
        found_levels = {obj.metadata.name: obj for obj in ((mandatory_levels() if own_levels else levels()) + own_levels)}
        found_schemas = {obj.metadata.name: obj for obj in ((mandatory_schemas() if own_schemas else schemas()) + own_schemas)}
        # As in Kubernetes, a schema counts only where its level is there.
        self._schemas = [schema for schema in in_order(map(Schema.of, found_schemas.values())) if schema.level in found_levels]
        self._level_uids = {name: obj.metadata.uid for name, obj in found_levels.items()}
        self._levels = {name: self._reshaped(name, shape_of(obj)) for name, obj in found_levels.items()}
        self.seats = Seats(self._total, self.levels)
        self.on_change()

    def _reshaped(self, name: str, shape: Shape) -> Level:
        """A level keeps what waits in it when it changes."""
        found = self._levels.get(name)
        if found is None or found.is_exempt != shape.is_exempt or bool(found.shape.queues) != bool(shape.queues):
            return Level(shape)
        found.shape = shape
        return found


def _nothing() -> None:
    """Nobody wants to know."""
