"""Which objects of a collection a list or watch is about: a key prefix, label and field selectors."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import bad_request
from knarr.machinery.selectors import FieldSelector, Selector, parse_field_selector, parse_label_selector
from services.apiserver.cache.terms import NAME, Field, Term
from services.apiserver.entries import Block
from services.apiserver.entry import Entry
from services.apiserver.results import Ref
from services.apiserver.storage.keys import collection_prefix
from services.apiserver.strategies import Strategies, Strategy

NAMESPACE = "metadata.namespace"
PLAIN = Strategy()
# So many conditions take no longer than what is done beside them. An object is held against one in a quarter of a microsecond.
FEW, SOME = 16, 8


class Selection:
    """A parsed selection. Raises BadRequest for selectors that cannot be understood."""

    def __init__(self, ref: Ref, strategies: Strategies, label_selector: str = "", field_selector: str = "") -> None:
        self.resource = ref.resource
        self.prefix = collection_prefix(ref.resource, ref.namespace)
        self._labels: Selector | None = None
        self._fields: FieldSelector | None = None
        self._names_only = False
        # A list request for one name (``metadata.name`` in the path) selects it like a field.
        self._name = ref.name
        # How the keys of all that is selected end: a watcher of one object looks at no other.
        self._suffix = f"/{ref.name}" if ref.name else ""
        if label_selector or field_selector:
            # Most select by no field, and need no rules of the kind.
            self.strategy = strategies(ref.version) if field_selector else PLAIN
            self._parse(label_selector, field_selector)

    @classmethod
    def of(cls, ref: Ref, options: meta.ListOptions, strategies: Strategies) -> Selection:
        return cls(ref, strategies, options.label_selector, options.field_selector)

    @property
    def everything(self) -> bool:
        """Whether all keys with the prefix are selected."""
        return self._labels is None and self._fields is None and not self._name

    @property
    def term(self) -> Term | None:
        """A value that a field of whatever is selected has; None where there is none."""
        for requirement in self._fields.requirements if self._fields is not None else ():
            if requirement.equal and requirement.field != NAMESPACE:
                return Term(Field(self.strategy, requirement.field), requirement.value)
        return None

    @property
    def effort(self) -> int:
        """How many conditions an object is held against."""
        return 1 + sum(len(selector.requirements) for selector in (self._labels, self._fields) if selector is not None)

    def portion(self, count: int) -> int:
        """Of how many objects it is found out at once, where it would be ``count`` with few conditions; some, with however many."""
        return min(count, max(count * FEW // max(self.effort, FEW), SOME))

    def covers(self, key: str) -> bool:
        """Whether an object of this key may be selected."""
        return key.startswith(self.prefix) and key.endswith(self._suffix)

    def matches(self, entry: Entry) -> bool:
        """Whether an object that is covered is selected."""
        if self._name and entry.name != self._name:
            return False
        if self._fields is not None and not self._fields.matches(self._field_values(entry)):
            return False
        return self._labels is None or self._labels.matches(entry.labels)

    def among(self, entries: Iterable[Entry]) -> Block:
        """Which objects with the prefix are selected."""
        return [*filter(self.matches, entries)]

    def _field_values(self, entry: Entry) -> dict[str, str]:
        values = {NAME: entry.name, NAMESPACE: entry.namespace}
        if not self._names_only:
            values.update(entry.fields(self.strategy))
        return values

    def _parse(self, label_selector: str, field_selector: str) -> None:
        if label_selector:
            self._labels = parse_label_selector(label_selector)
        if field_selector:
            self._fields = parse_field_selector(field_selector)
            names = {requirement.field for requirement in self._fields.requirements}
            known = {NAME, *self.strategy.selectable_field_names, *((NAMESPACE,) if self.resource.namespaced else ())}
            for name in sorted(names - known):
                raise bad_request(f"field label not supported: {name}")
            self._names_only = names <= {NAME, NAMESPACE}
            for requirement in self._fields.requirements:
                if requirement.field == NAME and requirement.equal and requirement.value:
                    self._suffix = f"/{requirement.value}"
