"""The rules of all roles that somebody has, laid out so that a wish is looked up rather than searched for. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from services.apiserver.rbac.rules import ALL, Rule, Wish

# Of a rule each verb is entered for each resource and group. One that is larger is asked itself, as nobody wrote it by hand.
MAX_ENTRIES = 1000

# Names of objects; None for all of them.
Names = set[str] | None
NOBODY: Names = set()


class Index:
    """Asked for each request; what a wish costs does not grow with the rules."""

    __slots__ = ("_large", "_paths", "_prefixes", "_resources", "rules")

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = rules
        # By verb and resource, with its sub-resource: the names by group.
        self._resources: dict[tuple[str, str], dict[str, Names]] = {}
        self._paths: set[tuple[str, str]] = set()
        self._large: list[Rule] = []
        prefixes: dict[str, list[str]] = defaultdict(list)
        for rule in rules:
            self._enter(rule, prefixes)
        self._prefixes = {verb: tuple(found) for verb, found in prefixes.items()}

    def allows(self, wish: Wish) -> bool:
        found = self._allows_path(wish) if wish.path else self._allows_resource(wish)
        return found or any(rule.allows(wish) for rule in self._large)

    def _allows_path(self, wish: Wish) -> bool:
        path = wish.path
        return any((verb, path) in self._paths or path.startswith(self._prefixes.get(verb, ())) for verb in (wish.verb, ALL))

    def _allows_resource(self, wish: Wish) -> bool:
        entries, group, name = self._resources, wish.group, wish.name
        spelled = (wish.resource, ALL, f"{ALL}/{wish.subresource}") if wish.subresource else (wish.resource, ALL)
        for verb in (wish.verb, ALL):
            for resource in spelled:
                by_group = entries.get((verb, resource))
                if by_group is not None and (_allows(by_group, group, name) or _allows(by_group, ALL, name)):
                    return True
        return False

    def _enter(self, rule: Rule, prefixes: dict[str, list[str]]) -> None:
        said = rule.said
        things = len(said.resources) * len(said.api_groups) * max(len(said.resource_names), 1)
        if len(said.verbs) * max(things, len(said.non_resource_urls)) > MAX_ENTRIES:
            self._large.append(rule)
            return
        for verb in said.verbs:
            for path in said.non_resource_urls:
                self._paths.add((verb, path))
                if path.endswith(ALL):
                    prefixes[verb].append(path[:-1])
            for resource in said.resources:
                by_group = self._resources.setdefault((verb, resource), {})
                for group in said.api_groups:
                    self._enter_names(by_group, group, said.resource_names)

    @staticmethod
    def _enter_names(by_group: dict[str, Names], group: str, names: Sequence[str]) -> None:
        if not names:
            by_group[group] = None
        elif (known := by_group.setdefault(group, set())) is not None:
            known.update(names)


def _allows(by_group: dict[str, Names], group: str, name: str) -> bool:
    names = by_group.get(group, NOBODY)
    return names is None or name in names
