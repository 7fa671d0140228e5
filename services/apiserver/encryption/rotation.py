"""The steps by which a key of an EncryptionConfiguration is replaced, each a change of the document. Pure.

Where a rotation stands is read off the document, by the name of its key: one that was cut short goes on where it was.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from copy import deepcopy
from enum import Enum
from typing import Any

# What makes a new key where nothing is encrypted yet.
DEFAULT_PROVIDER = "secretbox"
IDENTITY = "identity"


class Step(Enum):
    """What is to be done next."""

    ADD = "making the new key known"
    PROMOTE = "making values with the new key from now on"
    REWRITE = "writing everything anew"
    DONE = "nothing is left to do"


def entry_of(document: Any, resource: str) -> Any:
    """The entry that says how a resource is encrypted. Raises ValueError."""
    for entry in document["resources"]:
        if resource in entry["resources"]:
            return entry
    raise ValueError(f"resources: none of the entries names {resource}")


def next_step(document: Any, resource: str, name: str) -> Step:
    """Of the rotation that brings the key of that name."""
    entry = entry_of(document, resource)
    names = [str(key["name"]) for _, key in _keys(entry)]
    if name not in names:
        return Step.ADD
    if names[0] != name or IDENTITY in entry["providers"][0]:
        return Step.PROMOTE
    return Step.REWRITE if len(names) > 1 or any(IDENTITY in way for way in entry["providers"]) else Step.DONE


def added(document: Any, resource: str, name: str, secret: bytes) -> Any:
    """With a new key behind the first: what it makes can be opened, and nothing is made with it yet."""
    changed = deepcopy(document)
    entry = entry_of(changed, resource)
    providers = entry["providers"]
    provider = next((kind for kind, _ in _keys(entry)), DEFAULT_PROVIDER)
    key = {"name": name, "secret": base64.b64encode(secret).decode()}
    if provider in providers[0]:
        providers[0][provider]["keys"].insert(1, key)
    else:
        providers.insert(1, {provider: {"keys": [key]}})
    return changed


def promoted(document: Any, resource: str, name: str) -> Any:
    """With the new key first."""
    changed = deepcopy(document)
    entry = entry_of(changed, resource)
    provider, key = next((provider, key) for provider, key in _keys(entry) if key["name"] == name)
    _drop(entry, lambda found: found is key)
    entry["providers"].insert(0, {provider: {"keys": [key]}})
    return changed


def finished(document: Any, resource: str, name: str) -> Any:
    """With the new key alone: nothing lies there any more that another one opens, nor what is not encrypted."""
    changed = deepcopy(document)
    entry = entry_of(changed, resource)
    _drop(entry, lambda key: key["name"] != name)
    entry["providers"] = [way for way in entry["providers"] if IDENTITY not in way]
    return changed


def _keys(entry: Any) -> list[tuple[str, Any]]:
    """All keys, in the order in which they are tried, with their provider."""
    return [(kind, key) for way in entry["providers"] for kind, given in way.items() if kind != IDENTITY for key in given["keys"]]


def _drop(entry: Any, drops: Callable[[Any], bool]) -> None:
    """Takes keys out, and providers that have none left."""
    for way in entry["providers"]:
        for kind, given in way.items():
            if kind != IDENTITY:
                given["keys"] = [key for key in given["keys"] if not drops(key)]
    entry["providers"] = [way for way in entry["providers"] if IDENTITY in way or next(iter(way.values()))["keys"]]
