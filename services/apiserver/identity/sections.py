"""Fields of a configuration's sections. Each raises ValueError with the place, in the words of whoever writes the file."""

from __future__ import annotations

from typing import Any


def refuse_others(found: Any, path: str, *known: str) -> None:
    """A section has these fields and no others."""
    if not isinstance(found, dict):
        raise ValueError(f"{path or 'the document'} is no object")
    if strange := sorted(found.keys() - set(known)):
        raise ValueError(f"{place(path, strange[0])} is not known; there are {', '.join(known)}")


def section(found: dict[str, Any], name: str, path: str) -> dict[str, Any] | None:
    inner = found.get(name)
    if inner is not None and not isinstance(inner, dict):
        raise ValueError(f"{place(path, name)} is no object")
    return inner


def listed(found: dict[str, Any], name: str, path: str) -> list[Any]:
    """Empty where there is none."""
    inner = found.get(name)
    if inner is None:
        return []
    if not isinstance(inner, list):
        raise ValueError(f"{place(path, name)} is no list")
    return inner


def text(found: dict[str, Any], name: str, path: str, *, optional: bool = False) -> str:
    inner = found.get(name)
    if inner is None and optional:
        return ""
    if not isinstance(inner, str) or (not inner and not optional):
        raise ValueError(f"{place(path, name)} is {'missing' if inner is None or inner == '' else 'no text'}")
    return inner


def flag(found: dict[str, Any], name: str, path: str) -> bool:
    inner = found.get(name, False)
    if not isinstance(inner, bool):
        raise ValueError(f"{place(path, name)} is neither true nor false")
    return inner


def place(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
