"""A kubeconfig as its owner wrote it, with one context more or less: everything else stays as it is, to the byte. Pure.

YAML's libraries lose comments, order and quotes. So the text is spliced at the places that the parser names, and what comes out is read
again: unless it says exactly what it should, nothing is answered.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

# The lists of a kubeconfig, and what an entry of each has besides its name.
SECTIONS = {"clusters": "cluster", "contexts": "context", "users": "user"}
CURRENT = "current-context"
Document = dict[str, Any]


class Damaged(ValueError):
    """The text is no kubeconfig, or written in a way that cannot be changed without harm."""


@dataclass(frozen=True, slots=True)
class _Splice:
    start: int
    end: int
    text: str


def read(text: str) -> Document:
    """What a kubeconfig says; raises Damaged with the line."""
    try:
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Damaged(where + " ".join(filter(None, (error.context, error.problem)))) from None
    except (yaml.YAMLError, ValueError) as error:
        raise Damaged(str(error).partition("\n")[0]) from None
    if found is None:
        return {}
    if not isinstance(found, dict) or found.get("kind", "Config") != "Config":
        raise Damaged("it is no object of kind Config")
    for section in SECTIONS:
        entries = found.get(section)
        if entries is not None and not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            raise Damaged(f"{section} is no list of objects")
    return found


def current(document: Document) -> str:
    return str(document.get(CURRENT) or "")


def has(document: Document, name: str) -> bool:
    """Whether anything of a context of this name is there."""
    return any(entry.get("name") == name for section in SECTIONS for entry in document.get(section) or ())


def with_context(text: str, entries: dict[str, Document]) -> str:
    """With an entry in each section, in the place of one of its name or behind the others; its context becomes the current one."""
    name = entries["contexts"]["name"]

    def change(section: str, there: list[Document]) -> list[Document]:
        entry = entries[section]
        if any(one.get("name") == name for one in there):
            first = next(place for place, one in enumerate(there) if one.get("name") == name)
            return [*there[:first], entry, *there[first + 1 :]]
        return [*there, entry]

    after: Document = read(text) or {"apiVersion": "v1", "kind": "Config"}
    after |= {section: change(section, after.get(section) or []) for section in SECTIONS} | {CURRENT: name}
    return _changed(text, after)


def without_context(text: str, name: str) -> str:
    """Without all entries of this name; where it was the current context, there is none."""
    after = read(text)
    for section in SECTIONS:
        if after.get(section):
            after[section] = [entry for entry in after[section] if entry.get("name") != name]
    if current(after) == name:
        after[CURRENT] = ""
    return _changed(text, after)


def with_current(text: str, name: str) -> str:
    """With another current context."""
    return _changed(text, read(text) | {CURRENT: name})


def _changed(text: str, after: Document) -> str:
    before = read(text)
    if before == after:
        return text
    if text and not text.endswith("\n"):
        text += "\n"
    root: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        made = text + yaml.safe_dump(after, sort_keys=False, width=1 << 30)
    elif root.flow_style:
        made = json.dumps(after, indent=2) + "\n"
    else:
        made = _spliced(text, list(_splices(text, root, before, after)))
    if read(made) != after:
        raise Damaged("it is written in a way that cannot be changed without harm (anchors, or a key twice)")
    return made


def _spliced(text: str, splices: list[_Splice]) -> str:
    pieces, place = [], 0
    for splice in sorted(splices, key=lambda splice: splice.start):
        pieces += [text[place : splice.start], splice.text]
        place = splice.end
    return "".join([*pieces, text[place:]])


def _splices(text: str, root: yaml.MappingNode, before: Document, after: Document) -> Iterator[_Splice]:
    values = {key.value: (key, value) for key, value in root.value}
    for name in (*SECTIONS, CURRENT):
        if before.get(name) == after.get(name):
            continue
        if name not in values:
            yield _Splice(len(text), len(text), f"{name}:{_block(after[name], 0)}")
            continue
        key, value = values[name]
        colon = text.index(":", key.end_mark.index) + 1
        if isinstance(after[name], list) and _is_block(value):
            yield from _entries(text, value, before[name], after[name])
            if not after[name]:
                yield _Splice(colon, colon, " []")
        elif isinstance(after[name], list):
            end = value.end_mark.index
            yield _Splice(colon, end, "")
            yield _Splice(_line_end(text, end), _line_end(text, end), _lines(after[name], 0))
        else:
            end = value.end_mark.index
            yield _Splice(colon, end, _block(after[name], 0).rstrip("\n"))


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.SequenceNode) and not node.flow_style and bool(node.value)


def _entries(text: str, node: yaml.SequenceNode, before: list[Document], after: list[Document]) -> Iterator[_Splice]:
    """An entry is replaced where it stands, removed, or added behind the last."""
    column = node.start_mark.column
    kept = [entry.get("name") for entry in after]
    for place, (entry, item) in enumerate(zip(before, node.value, strict=True)):
        start, end = _line(text, item), _line_end(text, _end(text, item))
        if entry.get("name") not in kept:
            yield _Splice(start, end, "")
        elif len(after) >= len(before) and after[place] != entry:
            yield _Splice(start, end, _lines([after[place]], column))
    if len(after) > len(before):
        end = _line_end(text, _end(text, node.value[-1]))
        yield _Splice(end, end, _lines(after[len(before) :], column))


def _line(text: str, item: yaml.Node) -> int:
    start = text.rfind("\n", 0, item.start_mark.index) + 1
    if not text[start:].lstrip(" ").startswith("-"):
        raise Damaged(f"line {item.start_mark.line + 1}: an entry does not begin on the line of its dash")
    return start


def _line_end(text: str, place: int) -> int:
    return text.index("\n", place) + 1


def _end(text: str, node: yaml.Node) -> int:
    """Where the last thing of a node ends: a comment behind it belongs to what follows."""
    children = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    if isinstance(node, yaml.CollectionNode) and children and not node.flow_style:
        return max(_end(text, child) for child in children)
    end: int = node.end_mark.index
    return len(text[:end].rstrip()) if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">") else end


def _block(value: Any, column: int) -> str:
    """What stands behind a key and its colon."""
    if isinstance(value, list):
        return "\n" + _lines(value, column) if value else " []\n"
    return f" {value}\n" if value else ' ""\n'


def _lines(entries: list[Document], column: int) -> str:
    dumped = yaml.safe_dump(entries, sort_keys=False, width=1 << 30)
    return "".join(" " * column + line for line in dumped.splitlines(keepends=True))
