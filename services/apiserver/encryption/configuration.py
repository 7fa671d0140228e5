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
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from knarr.machinery.errors import StatusError
from knarr.machinery.yaml_text import yaml_documents
from knarr.service.errors import CommandError
from services.apiserver.encryption.ciphers import AesCbc, AesGcm, SecretBox
from services.apiserver.encryption.transformer import Cipher, Encryption, Entry, Key, Plain, Transformer

API_VERSION, KIND = "apiserver.config.k8s.io/v1", "EncryptionConfiguration"
# Far more than keys and names come to.
MOST_BYTES = 1024 * 1024
# Whoever else may read the file may read all that is encrypted.
OTHERS = stat.S_IRWXG | stat.S_IRWXO
PROVIDERS: dict[str, type[Cipher]] = {"aesgcm": AesGcm, "aescbc": AesCbc, "secretbox": SecretBox}


def read_encryption(file: Path) -> Encryption:
    """What a file says; raises CommandError."""
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(file.stat().st_mode)
            if mode & OTHERS:
                raise CommandError(f"{file} holds keys and may be used by others than its owner (mode {mode:04o}): chmod 600 {file}")
            text = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from error
    if len(text) > MOST_BYTES:
        raise CommandError(f"{file} is larger than {MOST_BYTES // 1024} KiB: that is no {KIND}")
    try:
        return parse_encryption(text)
    except ValueError as error:
        raise CommandError(f"{file}: {error}") from error


def parse_encryption(text: bytes) -> Encryption:
    """What a document says; raises ValueError with the field."""
    try:
        documents = list(yaml_documents(text))
    except StatusError as error:
        raise ValueError(error.status.message) from None
    document = documents[0] if len(documents) == 1 else None
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ValueError(f"it must be one {KIND} of {API_VERSION}")
    _refuse_others(document, "", "apiVersion", "kind", "resources")
    return Encryption(tuple(_entry(entry, f"resources[{at}]") for at, entry in enumerate(_list(document, "resources", ""))))


def _entry(entry: Any, path: str) -> Entry:
    _refuse_others(entry, path, "resources", "providers")
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
    _refuse_others(given, path, "keys")
    seen: set[str] = set()
    for at, key in enumerate(_list(given, "keys", path)):
        where = f"{path}.keys[{at}]"
        _refuse_others(key, where, "name", "secret")
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


def _refuse_others(found: Any, path: str, *known: str) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{path}: must be a mapping")
    if unknown := sorted(str(name) for name in found if name not in known):
        raise ValueError(f"{path}: unknown field {unknown[0]!r}".lstrip(": "))
