"""Bootstrap tokens: what a machine shows that is to become a node, kept as Secrets of type ``bootstrap.kubernetes.io/token``.

    abcdef.0123456789abcdef        its id, and its secret

https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/
"""

from __future__ import annotations

import hmac
import logging
import re
from collections.abc import Collection
from datetime import datetime

from knarr.api.core.v1 import core_pb2 as core
from knarr.machinery.catalog import version_of
from knarr.service.authentication import AUTHENTICATED, User, unauthorized
from services.apiserver.backend import Backend
from services.apiserver.tokens.accounts import ISSUER, Refused

log = logging.getLogger(__name__)

NAMESPACE, PREFIX, TYPE = "kube-system", "bootstrap-token-", "bootstrap.kubernetes.io/token"
USER_PREFIX, GROUP = "system:bootstrap:", "system:bootstrappers"
SECRETS = version_of(core.Secret).resource
_FORM = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUP_FORM = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")


class BootstrapTokens:
    """Looks into the watch cache at each request: a Secret that is deleted ends its token."""

    def __init__(self, backend: Backend, audiences: Collection[str] = (ISSUER,)) -> None:
        self._backend, self._audiences = backend, audiences

    def knows(self, token: str) -> bool:
        return len(token) == 23 and _FORM.fullmatch(token) is not None

    def authenticate(self, token: str) -> User:
        """Raises Unauthorized."""
        try:
            return self._owner(token)
        except Refused:
            raise unauthorized() from None

    async def review(self, token: str, audiences: Collection[str]) -> tuple[User, list[str]]:
        """Raises Refused."""
        user = self._owner(token)
        meant = [audience for audience in audiences or self._audiences if audience in self._audiences]
        if not meant:
            raise Refused("the token is known, and for this API server alone")
        return user, meant

    def _owner(self, token: str) -> User:
        found = _FORM.fullmatch(token)
        entry = self._backend.cache.get(SECRETS, NAMESPACE, f"{PREFIX}{found[1]}") if found is not None else None
        if found is None or entry is None:
            raise Refused("the token is not known")
        secret = entry.shared_message
        data = secret.data
        if secret.type != TYPE or data.get("token-id") != found[1].encode():
            raise Refused("the token is not known")
        if not hmac.compare_digest(bytes(data.get("token-secret", b"")), found[2].encode()):
            raise Refused("the token is not known")
        if secret.metadata.HasField("deletion_timestamp") or data.get("usage-bootstrap-authentication") != b"true":
            raise Refused("the token is not for authentication")
        if self._has_expired(bytes(data.get("expiration", b""))):
            raise Refused("the token has expired")
        return User(f"{USER_PREFIX}{found[1]}", groups=(GROUP, *_groups(bytes(data.get("auth-extra-groups", b""))), AUTHENTICATED))

    def _has_expired(self, text: bytes) -> bool:
        """What is no time is long over."""
        if not text:
            return False
        try:
            ends = datetime.fromisoformat(text.decode())
        except ValueError:
            return True
        return ends.tzinfo is None or ends <= self._backend.clock()


def _groups(text: bytes) -> list[str]:
    """Those that a token may have besides; with one that it may not have it is no good, as in Kubernetes. Raises Refused."""
    names = sorted({name for name in text.decode(errors="replace").split(",") if name})
    if any(not _GROUP_FORM.fullmatch(name) for name in names):
        raise Refused("the token has groups that are none of bootstrappers")
    return names
