"""How this server shows to extension API servers that it speaks for its callers: a certificate of an authority of its own, and headers."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import orjson

from knarr.api.core.v1 import core_pb2 as core
from knarr.api.meta.v1 import meta_pb2 as meta
from knarr.machinery.errors import status_error
from knarr.service.authentication import User
from knarr.service.file_marks import FileMarks

# Whom the certificate names; an extension API server takes no other's word for who asks.
COMMON_NAME = "front-proxy-client"
NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
# What may stand in a header's name beside letters, digits and what URLs keep.
HEADER_MARKS = "!#$&'*+^`|"
USER_HEADER, UID_HEADER, GROUP_HEADER, EXTRA_PREFIX = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group", "X-Remote-Extra-"


@dataclass(frozen=True, slots=True)
class FrontProxyFiles:
    """``ca`` is the certificate of the authority of ``certificate``; ``client_ca`` that of the certificates that callers show here."""

    ca: Path
    certificate: Path
    key: Path
    client_ca: Path


class FrontProxy:
    """Reads its files anew when they are replaced."""

    def __init__(self, files: FrontProxyFiles) -> None:
        self._files = files
        self._seen = FileMarks((files.certificate, files.key))
        # Counts how often the pair was replaced: contexts that were made before show the former one.
        self.generation = 0

    def changed(self) -> bool:
        """Whether contexts are to be made anew."""
        if self._seen.changed():
            self.generation += 1
            return True
        return False

    def show(self, context: ssl.SSLContext) -> None:
        """Lets a context show the certificate. Raises OSError, ssl.SSLError."""
        context.load_cert_chain(self._files.certificate, self._files.key)

    def published(self) -> core.ConfigMap:
        """What extension API servers read to know whom to believe. Raises OSError."""
        found = core.ConfigMap(metadata=meta.ObjectMeta(name=NAME, namespace=NAMESPACE))
        found.data["client-ca-file"] = self._files.client_ca.read_text()
        found.data["requestheader-client-ca-file"] = self._files.ca.read_text()
        for field, value in (
            ("allowed-names", COMMON_NAME),
            ("username-headers", USER_HEADER),
            ("uid-headers", UID_HEADER),
            ("group-headers", GROUP_HEADER),
            ("extra-headers-prefix", EXTRA_PREFIX),
        ):
            found.data[f"requestheader-{field}"] = orjson.dumps([value]).decode()
        return found


def caller_headers(user: User) -> tuple[tuple[bytes, bytes], ...]:
    """Who asks, as an extension API server reads it. Raises Forbidden for who would be read as another one there."""
    for word in (user.name, user.uid, *user.groups):
        if word != word.strip() or len(word.splitlines()) > 1:
            raise status_error("Forbidden", f"{word!r} cannot be told to the server that is to answer: its blanks would be lost on the way")
    named = [(USER_HEADER, user.name), *((GROUP_HEADER, group) for group in user.groups)]
    if user.uid:
        named.append((UID_HEADER, user.uid))
    # What may not stand in a header's name is written as in a URL, as Kubernetes does.
    named += [(EXTRA_PREFIX + quote(key, safe=HEADER_MARKS), value) for key, values in user.extra for value in values]
    return tuple((name.lower().encode(), _line(value)) for name, value in named)


def _line(value: str) -> bytes:
    """A header has one line; what is no Latin letter goes as UTF-8, as Go's clients send it."""
    return " ".join(value.splitlines()).encode()


Published = Callable[[], core.ConfigMap]
