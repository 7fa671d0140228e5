"""The file of an EncryptionConfiguration (``apiserver.config.k8s.io/v1``), as kube-apiserver reads it.

    apiVersion: apiserver.config.k8s.io/v1
    kind: EncryptionConfiguration
    resources:
    - resources: [secrets]
      providers:
      - aesgcm: {keys: [{name: key1, secret: BASE64}]}
      - identity: {}

A resource follows the first entry that names it, also as ``*.GROUP`` (``*.`` is the core group) or ``*.*``. Providers of a key service
(``kms``) are not there.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knarr.service.configuration_file import document_of, read_configuration, refuse_others
from services.apiserver.encryption.ciphers import AesCbc, AesGcm, SecretBox
from services.apiserver.encryption.transformer import Cipher, Encryption, Entry, Key, Plain, Transformer

API_VERSION, KIND = "apiserver.config.k8s.io/v1", "EncryptionConfiguration"
PROVIDERS: dict[str, type[Cipher]] = {"aesgcm": AesGcm, "aescbc": AesCbc, "secretbox": SecretBox}


def read_encryption(file: Path) -> Encryption:
    """What a file says; raises CommandError."""
    return read_configuration(file, KIND, parse_encryption, holds_keys=True)


def parse_encryption(text: bytes) -> Encryption:
    """What a document says; raises ValueError with the field."""
    document = document_of(text, API_VERSION, KIND)
    refuse_others(document, "", "apiVersion", "kind", "resources")
    return Encryption(tuple(_entry(entry, f"resources[{at}]") for at, entry in enumerate(_list(document, "resources", ""))))


def _entry(entry: Any, path: str) -> Entry:
    refuse_others(entry, path, "resources", "providers")
    names = _list(entry, "resources", path)
    for name in names:
        if not isinstance(name, str) or not name or name in ("*", "*.extensions"):
            raise ValueError(f"{path}.resources: {name!r} names no resource; like secrets, deployments.apps, *.apps, *. or *.*")
    ways = [way for at, provider in enumerate(_list(entry, "providers", path)) for way in _ways(provider, f"{path}.providers[{at}]")]
    return Entry(tuple(names), Transformer(ways))


def _ways(provider: Any, path: str) -> Iterator[Key | Plain]:
    if not isinstance(provider, dict) or len(provider) != 1:
        raise ValueError(f"{path}: must be one of {', '.join(PROVIDERS)} or identity")
    ((name, given),) = provider.items()
    if name == "identity":
        yield Plain()
        return
    cipher = PROVIDERS.get(name)
    if cipher is None:
        raise ValueError(f"{path}: there is no provider {name!r} here; there are {', '.join(PROVIDERS)} and identity")
    path = f"{path}.{name}"
    refuse_others(given, path, "keys")
    seen: set[str] = set()
    for at, key in enumerate(_list(given, "keys", path)):
        where = f"{path}.keys[{at}]"
        refuse_others(key, where, "name", "secret")
        called = key.get("name")
        if not isinstance(called, str) or not called or ":" in called:
            raise ValueError(f"{where}.name: must be a text without a colon")
        if called in seen:
            raise ValueError(f"{where}.name: {called} is there already")
        seen.add(called)
        yield Key(f"k8s:enc:{name}:v1:{called}:".encode(), cipher(_secret(key.get("secret"), cipher, f"{where}.secret")))


def _secret(text: Any, cipher: type[Cipher], path: str) -> bytes:
    """A key. What is wrong with it is said without it."""
    try:
        secret = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except binascii.Error:
        raise ValueError(f"{path}: must be base64") from None
    if len(secret) not in cipher.key_bytes:
        sizes = " or ".join(map(str, cipher.key_bytes))
        raise ValueError(f"{path}: must be {sizes} bytes in base64, and has {len(secret)}: head -c 32 /dev/urandom | base64")
    return secret


def _list(holder: Any, name: str, path: str) -> list[Any]:
    found = holder.get(name)
    if not isinstance(found, list) or not found:
        raise ValueError(f"{path}.{name}: must be a list of one at least".lstrip("."))
    return found
