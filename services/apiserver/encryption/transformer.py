"""What makes values of the objects of a resource, and opens those that were made before.

Knows no cipher: an API server that encrypts nothing loads none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from knarr.machinery.resources import Resource

# What every encrypted value begins with, whatever it was made by.
ENCRYPTED = b"k8s:enc:"
# Of a value that cannot be read so much is shown: provider, version and the name of a key, which has no secret in it.
SHOWN_BYTES = 80


class CannotOpen(ValueError):
    """A value was not made with this key, or not for this place, or has been changed."""


class Cipher(Protocol):
    """Made with one key, whose length is one of ``key_bytes``. A place is the key in the store under which a value lies."""

    key_bytes: ClassVar[tuple[int, ...]]

    def __init__(self, key: bytes) -> None: ...

    def seal(self, plain: bytes, place: bytes) -> bytes: ...

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Raises CannotOpen."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a provider. ``prefix`` is what its values begin with: ``k8s:enc:aesgcm:v1:NAME:``."""

    prefix: bytes
    cipher: Cipher


@dataclass(frozen=True, slots=True)
class Plain:
    """The provider ``identity``: values are what they are."""


class Transformer:
    """The providers of a resource, in order: the first one makes values, each opens those that are its own."""

    def __init__(self, ways: Sequence[Key | Plain]) -> None:
        """``ways`` are all keys of all providers; one at least."""
        self._ways = tuple(ways)

    def make(self, plain: bytes, place: str) -> bytes:
        """The value to store at ``place``."""
        first = self._ways[0]
        return plain if isinstance(first, Plain) else first.prefix + first.cipher.seal(plain, place.encode())

    def open(self, value: bytes, place: str) -> bytes:
        """What a value was made of; raises ValueError, with the reason in words."""
        reason = ""
        for way in self._ways:
            if not _is_of(way, value):
                continue
            if isinstance(way, Plain):
                return value
            try:
                return way.cipher.open(value[len(way.prefix) :], place.encode())
            except CannotOpen as error:
                reason = str(error)
        raise ValueError(f"it is {described(value)}, {reason or 'for which the EncryptionConfiguration has no provider and key'}")

    def is_newest(self, value: bytes) -> bool:
        """Whether a value is one that would be made so today: by the first provider, with its first key."""
        return _is_of(self._ways[0], value)


@dataclass(frozen=True, slots=True)
class Entry:
    """Which resources, as they are spelled (``secrets``, ``*.apps``), and what makes and opens their values."""

    resources: tuple[str, ...]
    transformer: Transformer


@dataclass(frozen=True, slots=True)
class Encryption:
    """What is encrypted, and how."""

    entries: tuple[Entry, ...] = ()

    def of(self, resource: Resource) -> Transformer | None:
        """What makes and opens the values of a resource; None where nothing is said of it."""
        names = {resource.storage.qualified, f"*.{resource.storage.group}", "*.*"}
        return next((entry.transformer for entry in self.entries if not names.isdisjoint(entry.resources)), None)


def _is_of(way: Key | Plain, value: bytes) -> bool:
    return not value.startswith(ENCRYPTED) if isinstance(way, Plain) else value.startswith(way.prefix)


def described(value: bytes) -> str:
    """How a value lies in the store, without its secret part."""
    if not value.startswith(ENCRYPTED):
        return "not encrypted"
    parts = value[:SHOWN_BYTES].split(b":")[:5]
    return f"encrypted ({b':'.join(parts).decode(errors='replace')})"


def refuse_encrypted(value: bytes) -> None:
    """Raises ValueError, with the way out, for an encrypted value of a resource that no configuration names."""
    if value.startswith(ENCRYPTED):
        raise ValueError(
            f"it is {described(value)}: start the API server with the EncryptionConfiguration that it was written with "
            "(--encryption-provider-config), in which its resource is named"
        )
