"""Lessons and the tutorial, as their files say them: read once, when the first wants them, and looked at for mistakes.

A lesson (``lessons/``) has a ``title``, a ``story``, a ``hint`` and an ``explanation``, each in every language; the ``setup`` that works (a
file of ``setups/``: ``objects``, and checks by which it is ``ready``); a ``fault``, which is what of those objects becomes otherwise, and
objects that are added; the checks by which it is ``seen``; its ``cause`` in words, and which lessons' causes are offered beside it as
``others``. ``real``: on simulated nodes it does not show. A step of the tutorial (``tutorial/``) has a ``title``, what is ``told``, what to
``do`` in words, the ``objects`` that the page makes for it, and what there is to ``see``; ``opened`` and ``viewed`` are looked at in the
browser.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from services.web.learning.checks import FIELDS, Check

FOLDER = Path(__file__).parent
LANGUAGES = ("en", "ko")
IMAGE = "$IMAGE"
Words = Mapping[str, str]
Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """Something that works: its objects, and by what that is known."""

    objects: tuple[Obj, ...]
    ready: tuple[Check, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    id: str
    title: Words
    story: Words
    hint: Words
    explanation: Words
    cause: Words
    others: tuple[str, ...]
    setup: Setup
    fault: tuple[Obj, ...]
    seen: tuple[Check, ...]
    real: bool = False

    @property
    def broken(self) -> list[Obj]:
        """All objects with the fault in them."""
        merged = [merge(obj, next((one for one in self.fault if _same(one, obj)), {})) for obj in self.setup.objects]
        return [*merged, *self.added]

    @property
    def added(self) -> list[Obj]:
        """Those that are there for the fault alone."""
        return [one for one in self.fault if not any(_same(one, obj) for obj in self.setup.objects)]


@dataclass(frozen=True, slots=True)
class Step:
    id: str
    title: Words
    told: Words
    do: Words
    objects: tuple[Obj, ...] = ()
    see: tuple[Check, ...] = ()
    opened: str = ""
    viewed: str = ""
    # Names of what the page takes away again when the step begins.
    removed: tuple[Obj, ...] = field(default=())


def _same(one: Obj, other: Obj) -> bool:
    return bool(one["kind"] == other["kind"] and one["metadata"]["name"] == other["metadata"]["name"])


def merge(base: Any, over: Any) -> Any:
    """``base`` with what ``over`` says: mappings by their names, lists of named things by theirs, all else as a whole. None takes away."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        merged = {name: merge(value, over[name]) if name in over else value for name, value in base.items()}
        merged |= {name: value for name, value in over.items() if name not in base}
        return {name: value for name, value in merged.items() if value is not None}
    if _named(base) and _named(over):
        found = {one["name"]: one for one in base}
        for one in over:
            found[one["name"]] = merge(found.get(one["name"], {}), one)
        return list(found.values())
    return over


def _named(items: Any) -> bool:
    return isinstance(items, list) and bool(items) and all(isinstance(one, Mapping) and "name" in one for one in items)


def with_image(value: Any, image: str) -> Any:
    """The same with ``image`` where a file says IMAGE."""
    if isinstance(value, Mapping):
        return {name: with_image(one, image) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [with_image(one, image) for one in value]
    return image if value == IMAGE else value


@cache
def lessons() -> Mapping[str, Lesson]:
    """By their ids, in the order of their files' names. Raises ValueError for a file that is no good."""
    setups = {path.stem: _setup(path) for path in sorted((FOLDER / "setups").glob("*.yaml"))}
    found = {lesson.id: lesson for lesson in (_lesson(path, setups) for path in sorted((FOLDER / "lessons").glob("*.yaml")))}
    for lesson in found.values():
        strangers = [other for other in lesson.others if other not in found or other == lesson.id]
        if strangers:
            raise ValueError(f"lessons/{lesson.id}: others: there is no other lesson {', '.join(strangers)}")
    return found


@cache
def steps() -> tuple[Step, ...]:
    """In their order. Raises ValueError for a file that is no good."""
    return tuple(_step(path) for path in sorted((FOLDER / "tutorial").glob("*.yaml")))


def _read(path: Path, allowed: frozenset[str]) -> dict[str, Any]:
    # Most who look at the page take no lesson.
    from knarr.machinery.yaml_text import yaml_documents

    (found,) = yaml_documents(path.read_bytes())
    if unknown := set(found) - allowed:
        raise ValueError(f"{path.name}: {', '.join(sorted(unknown))}: there is only {', '.join(sorted(allowed))}")
    return found


def _words(path: Path, said: Mapping[str, Any], name: str) -> Words:
    words = said.get(name)
    if not isinstance(words, dict) or any(not words.get(language) for language in LANGUAGES):
        raise ValueError(f"{path.name}: {name}: must say {' and '.join(LANGUAGES)}")
    return {language: str(words[language]).strip() for language in LANGUAGES}


def _checks(path: Path, said: Mapping[str, Any], name: str) -> Iterator[Check]:
    for number, check in enumerate(said.get(name) or ()):
        where = f"{path.name}: {name}[{number}]"
        if "of" not in check or set(check) - FIELDS:
            raise ValueError(f"{where}: must say `of`, and nothing but {', '.join(sorted(FIELDS))}")
        if ("at" in check) != (sum(name in check for name in ("is", "least", "says")) == 1):
            raise ValueError(f"{where}: must say `at` with one of `is`, `least` and `says`, or none of them")
        yield check


def _setup(path: Path) -> Setup:
    said = _read(path, frozenset({"objects", "ready"}))
    return Setup(tuple(said["objects"]), tuple(_checks(path, said, "ready")))


def _lesson(path: Path, setups: Mapping[str, Setup]) -> Lesson:
    names = ("title", "story", "hint", "explanation", "cause")
    said = _read(path, frozenset({*names, "others", "setup", "fault", "seen", "real"}))
    words = {name: _words(path, said, name) for name in names}
    if said.get("setup") not in setups:
        raise ValueError(f"{path.name}: setup: must be one of {', '.join(setups)}")
    return Lesson(
        id=path.stem.partition("-")[2],
        others=tuple(said["others"]),
        setup=setups[said["setup"]],
        fault=tuple(said["fault"]),
        seen=tuple(_checks(path, said, "seen")),
        real=bool(said.get("real")),
        **words,
    )


def _step(path: Path) -> Step:
    names = ("title", "told", "do")
    said = _read(path, frozenset({*names, "objects", "see", "opened", "viewed", "removed"}))
    return Step(
        id=path.stem.partition("-")[2],
        objects=tuple(said.get("objects") or ()),
        see=tuple(_checks(path, said, "see")),
        opened=said.get("opened", ""),
        viewed=said.get("viewed", ""),
        removed=tuple(said.get("removed") or ()),
        **{name: _words(path, said, name) for name in names},
    )
