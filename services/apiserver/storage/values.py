"""What lies in the store for an object: its bytes in the envelope of a version, encrypted where a configuration says so.

The version is that which a resource is stored in, unless the store is shared with API servers that do not know it yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from knarr.machinery import envelope
from knarr.machinery.catalog import BUILT_IN
from knarr.machinery.resources import Resource, Version
from services.apiserver.encryption.transformer import ENCRYPTED, Encryption, refuse_encrypted

NOT_ENCRYPTED = Encryption()

# The versions that a resource may be stored in instead of its own, by ``apiVersion``: older ones, which all others can be made of.
OLDER = frozenset(
    {version.api_version for resource in BUILT_IN for version in resource.versions[1:] if version.group == resource.storage.group}
    | {api_version for resource in BUILT_IN for api_version in resource.formerly}
)


class Read(NamedTuple):
    """The bytes of an object in a version; ``stale``: it would be written in another one than it lies in."""

    version: Version
    raw: bytes
    stale: bool


class Values:
    """Between the bytes of objects, as the cache and the pipeline have them, and values of the store.

    ``older`` are those of OLDER in which objects are written; whatever version one lies in, it is read.
    """

    def __init__(self, older: Collection[str] = (), encryption: Encryption = NOT_ENCRYPTED) -> None:
        self._encryption = encryption
        self._written_in: Mapping[Resource, str | Version] = {
            resource: found for resource in BUILT_IN if (found := _version_among(resource, older)) is not None
        }

    def encrypt_by(self, encryption: Encryption) -> None:
        """From now on values are made and opened otherwise."""
        self._encryption = encryption

    def value(self, resource: Resource, key: str, raw: bytes) -> bytes:
        """What to store under ``key`` for an object's bytes."""
        value = self._enveloped(resource, raw)
        transformer = self._encryption.of(resource) if self._encryption.entries else None
        return value if transformer is None else transformer.make(value, key)

    def read(self, resource: Resource, key: str, value: bytes) -> Read:
        """The object of which a value was stored; raises ValueError or DecodeError for one that cannot be read."""
        if self._encryption.entries or value.startswith(ENCRYPTED):
            value = self._opened(resource, key, value)
        storage = resource.storage
        api_version, raw = storage.form.unwrap(value)
        written = self._written_in.get(resource, storage)
        stale = api_version != (written if isinstance(written, str) else written.api_version)
        if api_version == storage.api_version:
            return Read(storage, raw, stale)
        return Read(*_former(resource, api_version, value), stale)

    def encrypts(self, resource: Resource) -> bool:
        """Whether the values of a resource may differ from one key or provider to the next."""
        return bool(self._encryption.entries) and self._encryption.of(resource) is not None

    def is_newest(self, resource: Resource, value: bytes) -> bool:
        """Whether a value is encrypted as one that would be stored now."""
        transformer = self._encryption.of(resource)
        return transformer is None or transformer.is_newest(value)

    def _opened(self, resource: Resource, key: str, value: bytes) -> bytes:
        transformer = self._encryption.of(resource)
        if transformer is not None:
            return transformer.open(value, key)
        refuse_encrypted(value)
        return value

    def _enveloped(self, resource: Resource, raw: bytes) -> bytes:
        storage = resource.storage
        version = self._written_in.get(resource)
        if version is None:
            return storage.form.wrap(raw)
        if isinstance(version, str):
            return envelope.wrap(version, storage.kind, raw)
        return version.form.wrap(version.from_storage(storage.message.FromString(raw)).SerializeToString(deterministic=True))


def _version_among(resource: Resource, older: Collection[str]) -> str | Version | None:
    """The first of the versions of a resource that ``older`` names; only its name where the bytes are the same."""
    found: str | Version | None = next((version for version in resource.versions[1:] if version.api_version in older), None)
    return found or next((api_version for api_version in resource.formerly if api_version in older), None)


def _former(resource: Resource, api_version: str, value: bytes) -> tuple[Version, bytes]:
    """An object that was stored when another version was the stored one: in the one that is now, or, if a definition says how versions are
    converted, as it is. Raises ValueError for a version that is not served."""
    storage = resource.storage
    if api_version in resource.formerly:
        return storage, storage.form.unwrap(value)[1]
    found = next((version for version in resource.versions if version.api_version == api_version), None)
    if found is None:
        raise ValueError(f"{resource.plural} of {api_version or 'no version'} are not served")
    raw = found.form.unwrap(value)[1]
    if resource.converter is not None:
        return found, raw
    return storage, found.to_storage(found.message.FromString(raw)).SerializeToString()
