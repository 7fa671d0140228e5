"""A CredentialProviderConfig: which programs are asked for the logins of which registries. Pure.

https://kubernetes.io/docs/tasks/administer-cluster/kubelet-credential-provider/
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from knarr.machinery.forms import parse_duration
from knarr.machinery.validation import qualified_name
from knarr.service.configuration_file import refuse_others, refuse_repeated, sole_document
from services.kubelet.image_match import place_of

KIND = "CredentialProviderConfig"
VERSIONS = tuple(f"kubelet.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
PROVIDER_VERSIONS = tuple(f"credentialprovider.kubelet.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
# A name of a file in one folder.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_TOKEN_FIELDS = (
    "serviceAccountTokenAudience", "cacheType", "requireServiceAccount",
    "requiredServiceAccountAnnotationKeys", "optionalServiceAccountAnnotationKeys",
)  # fmt: skip
_FIELDS = ("name", "matchImages", "defaultCacheDuration", "apiVersion", "args", "env", "tokenAttributes")


# Whose a login is that was had by a token: of all pods of a ServiceAccount, or of whoever has that very token.
BY_ACCOUNT, BY_TOKEN = "ServiceAccount", "Token"


@dataclass(frozen=True, slots=True)
class TokenAttributes:
    """What a program is told of the ServiceAccount of the pod: a token for ``audience``, and its annotations of these keys."""

    audience: str
    cache_type: str
    requires_account: bool
    required_annotations: tuple[str, ...] = ()
    optional_annotations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Provider:
    """``name`` is the program's, in the folder of such programs; ``cache_seconds`` is how long a login holds that says nothing of it;
    ``tokens`` None: it is told of no ServiceAccount."""

    name: str
    match_images: tuple[str, ...]
    cache_seconds: float
    api_version: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    tokens: TokenAttributes | None = None


def parse_config(text: bytes) -> tuple[Provider, ...]:
    """Raises ValueError with the place of what is wrong."""
    document = sole_document(text)
    if document is None or document.get("apiVersion") not in VERSIONS or document.get("kind") != KIND:
        raise ValueError(f"it must be one {KIND} of {VERSIONS[0]}")
    refuse_repeated(document)
    refuse_others(document, "", "apiVersion", "kind", "providers")
    listed = document.get("providers")
    if not isinstance(listed, list) or not listed:
        raise ValueError("providers: at least one is needed")
    found = tuple(_provider(one, f"providers[{at}]") for at, one in enumerate(listed))
    names = [provider.name for provider in found]
    if repeated := next((name for name in names if names.count(name) > 1), ""):
        raise ValueError(f"providers: {repeated!r} is there twice")
    return found


def _provider(found: Any, path: str) -> Provider:
    refuse_others(found, path, *_FIELDS)
    name = found.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in (".", ".."):
        raise ValueError(f"{path}.name: must be the name of a program, without a folder")
    version = found.get("apiVersion")
    if version not in PROVIDER_VERSIONS:
        raise ValueError(f"{path}.apiVersion: must be one of {', '.join(PROVIDER_VERSIONS)}")
    images = _texts(found.get("matchImages"), f"{path}.matchImages")
    if not images:
        raise ValueError(f"{path}.matchImages: at least one is needed")
    for at, image in enumerate(images):
        try:
            place_of(image)
        except ValueError as error:
            raise ValueError(f"{path}.matchImages[{at}]: {error}") from None
    seconds = cache_seconds(found.get("defaultCacheDuration"), f"{path}.defaultCacheDuration")
    if seconds is None:
        raise ValueError(f"{path}.defaultCacheDuration: is needed, like 10m")
    args = _texts(found.get("args") or [], f"{path}.args")
    tokens = _tokens(found["tokenAttributes"], f"{path}.tokenAttributes", version) if found.get("tokenAttributes") is not None else None
    return Provider(name, images, seconds, version, args, _environment(found.get("env") or [], f"{path}.env"), tokens)


def _tokens(found: Any, path: str, version: str) -> TokenAttributes:
    refuse_others(found, path, *_TOKEN_FIELDS)
    if version != PROVIDER_VERSIONS[0]:
        raise ValueError(f"{path}: is for programs of apiVersion {PROVIDER_VERSIONS[0]} only")
    audience, cache_type, requires = (found.get(name) for name in _TOKEN_FIELDS[:3])
    if not isinstance(audience, str) or not audience:
        raise ValueError(f"{path}.serviceAccountTokenAudience: is needed, the audience of the token")
    if cache_type not in (BY_ACCOUNT, BY_TOKEN):
        raise ValueError(f"{path}.cacheType: must be {BY_ACCOUNT} or {BY_TOKEN}")
    if not isinstance(requires, bool):
        raise ValueError(f"{path}.requireServiceAccount: must be true or false")
    required, optional = (_annotations(found.get(name) or [], f"{path}.{name}") for name in _TOKEN_FIELDS[3:])
    if required and not requires:
        raise ValueError(f"{path}.requiredServiceAccountAnnotationKeys: needs requireServiceAccount: true")
    if both := set(required) & set(optional):
        raise ValueError(f"{path}: {', '.join(sorted(both))} cannot be both required and optional")
    return TokenAttributes(audience, cache_type, requires, required, optional)


def _annotations(found: Any, path: str) -> tuple[str, ...]:
    keys = _texts(found, path)
    for at, key in enumerate(keys):
        if words := qualified_name(key.lower()):
            raise ValueError(f"{path}[{at}]: {key!r}: {', '.join(words)}")
        if key in keys[:at]:
            raise ValueError(f"{path}[{at}]: {key!r} is there twice")
    return keys


def cache_seconds(found: Any, path: str) -> float | None:
    """None where nothing is said."""
    if found is None:
        return None
    try:
        seconds = parse_duration(found) / 1e9 if isinstance(found, str) else -1.0
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise ValueError(f"{path}: {found!r} is not a time from 0s on, like 10m")
    return seconds


def _texts(found: Any, path: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise ValueError(f"{path}: must be a list of strings")
    return tuple(found)


def _environment(found: Any, path: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, list):
        raise ValueError(f"{path}: must be a list")
    result = []
    for at, entry in enumerate(found):
        refuse_others(entry, f"{path}[{at}]", "name", "value")
        if not isinstance(entry.get("name"), str) or not entry["name"] or not isinstance(entry.get("value", ""), str):
            raise ValueError(f"{path}[{at}]: name and value must be strings")
        result.append((entry["name"], entry.get("value", "")))
    return tuple(result)
