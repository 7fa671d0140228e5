"""Which plugins a profile has at which extension point, in which order: Kubernetes' defaults with what the profile says. Pure.

https://kubernetes.io/docs/reference/scheduling/config/#multipoint
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from knarr.machinery.errors import Cause
from knarr.machinery.validation import NOT_NEGATIVE, Path, invalid, required
from services.scheduler.configuration.decoding import fields_of
from services.scheduler.configuration.document import PluginEntry, Plugins, PluginSet
from services.scheduler.registry import POINTS, Registered

ALL = "*"
# Kubernetes had them once, and says so.
REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")


@dataclass(frozen=True, slots=True)
class Chosen:
    """Names of plugins by extension point, in their order; weights of those that score."""

    points: Mapping[str, Sequence[str]]
    weights: Mapping[str, int]


def choose(plugins: Plugins, known: Mapping[str, Registered], defaults: Iterable[PluginEntry], path: Path) -> tuple[Chosen, list[Cause]]:
    """``known`` are all plugins by name, ``defaults`` those of a profile that says nothing; ``path`` is the profile's ``plugins``."""
    sets = {name: getattr(plugins, attribute) for name, (attribute, _) in fields_of(Plugins).items()}
    causes = [cause for name, found in sets.items() for cause in _check(name, found, known, path.child(name))]
    if causes:
        return Chosen({}, {}), causes
    everywhere = _merged(tuple(defaults), sets["multiPoint"])
    points = {point: _expanded(point, sets[point], everywhere, known) for point in POINTS}
    weights: dict[str, int] = {}
    for entry in (*sets["score"].enabled, *everywhere):
        weights.setdefault(entry.name, entry.weight or 1)
    return Chosen(points, {name: weights[name] for name in points["score"]}), []


def check_bindable(chosen: Chosen, name: str, path: Path) -> Iterable[Cause]:
    """A profile sorts pods in one way, and something binds them."""
    if (count := len(chosen.points["queueSort"])) != 1:
        words = f'only one queue sort plugin required for profile with scheduler name "{name}", but got {count}'
        yield invalid(path.child("queueSort"), count, words)
    if not chosen.points["bind"]:
        yield required(path.child("bind"), f'at least one bind plugin is needed for profile with scheduler name "{name}"')


def _check(point: str, found: PluginSet, known: Mapping[str, Registered], path: Path) -> Iterable[Cause]:
    seen = set[str]()
    # The first extension point of all is the one that Kubernetes misses it at.
    word = f"{'PreFilter' if point == 'multiPoint' else point[0].upper() + point[1:]}Plugin"
    for at, entry in enumerate(found.enabled):
        where = path.child("enabled").index(at)
        name = where.child("name")
        if entry.name in REMOVED:
            yield invalid(where, entry.name, "was removed from kubescheduler.config.k8s.io/v1")
        elif entry.name not in known:
            yield invalid(name, entry.name, f'{word} "{entry.name}" does not exist')
        elif point != "multiPoint" and point not in known[entry.name].points:
            yield invalid(name, entry.name, f'plugin "{entry.name}" does not extend {word} plugin')
        elif entry.name in seen:
            yield invalid(name, entry.name, f'plugin "{entry.name}" already registered as "{word}"')
        if entry.weight < 0:
            yield invalid(where.child("weight"), entry.weight, NOT_NEGATIVE)
        seen.add(entry.name)


def _merged(defaults: Sequence[PluginEntry], custom: PluginSet) -> Sequence[PluginEntry]:
    """What a profile enables and disables everywhere, in the places of the defaults where it enables one of those anew."""
    own = {entry.name: entry for entry in custom.enabled}
    disabled = {entry.name for entry in custom.disabled}
    kept = [own.get(entry.name, entry) for entry in defaults if not disabled & {ALL, entry.name}]
    replaced = {entry.name for entry in kept}
    return (*kept, *(entry for entry in custom.enabled if entry.name not in replaced))


def _expanded(point: str, own: PluginSet, everywhere: Sequence[PluginEntry], known: Mapping[str, Registered]) -> Sequence[str]:
    """The plugins of a point: those of everywhere that it names itself first, then the others of everywhere, then the rest of its own."""
    named = [entry.name for entry in own.enabled]
    disabled = {entry.name for entry in own.disabled}
    if ALL in disabled:
        return named
    spread = [entry.name for entry in everywhere if point in known[entry.name].points and entry.name not in disabled]
    first = [name for name in named if name in spread]
    return [*first, *(name for name in spread if name not in named), *(name for name in named if name not in first)]
