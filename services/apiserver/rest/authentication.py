"""Authentication: finds the user of a request by its bearer token or by the client certificate of its connection."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Coroutine, Mapping
from typing import Any

from knarr.service.authentication import AUTHENTICATED, IMPERSONATE_PREFIX, TokenAuthenticator, User, unauthorized
from services.apiserver.api import Api
from services.apiserver.identity.impersonation import Impersonation
from services.apiserver.rest.request import Request

logger = logging.getLogger(__name__)

PERIOD = ("notBefore", "notAfter")
# The key of the connection's state under which the protocol puts ``User`` of a verified certificate.
CERTIFICATE_USER = "certificate_user"
_IMPERSONATE = IMPERSONATE_PREFIX.encode()


class Authenticator:
    """Finds the user of a request. A token that is wrong is refused even beside a good certificate."""

    def __init__(self, tokens: TokenAuthenticator, api: Api) -> None:
        self._tokens, self._api = tokens, api

    async def user(self, request: Request) -> User:
        """The user as whom the request is to be answered. Raises Unauthorized when nobody is named, Forbidden or BadRequest when somebody
        else is to be played who may not be."""
        found = self._named(request)
        user = found if isinstance(found, User) else await found
        request.greet()
        for name in request.headers:
            if name.startswith(_IMPERSONATE):
                return await self._api.impersonate(user, Impersonation.of_headers(request.scope["headers"]))
        return user

    def _named(self, request: Request) -> User | Coroutine[Any, Any, User]:
        authorization = request.headers.get(b"authorization")
        if authorization is not None:
            return self._tokens.authenticate(authorization.decode("latin-1"))
        user: User | None = request.scope.get("state", {}).get(CERTIFICATE_USER)
        if user is None:
            raise unauthorized()
        return user


def is_in_force(certificate: Mapping[str, Any], at_seconds: float) -> bool:
    """Whether the moment, in seconds since 1970, lies in the time of a certificate as ``getpeercert`` shows it."""
    begin, end = (ssl.cert_time_to_seconds(certificate[field]) for field in PERIOD)
    return begin <= at_seconds <= end


def certificate_user(connection: ssl.SSLObject | None) -> User | None:
    """The user that a verified client certificate names: CN is the name, each O a group. None outside its time."""
    certificate: dict[str, Any] = (connection.getpeercert() if connection is not None else None) or {}
    if certificate and not is_in_force(certificate, time.time()):
        logger.warning("a client certificate is not in force", extra={field: str(certificate[field]) for field in ("subject", *PERIOD)})
        return None
    names: list[str] = []
    groups: list[str] = []
    for relative in certificate.get("subject", ()):
        for attribute, value in relative:
            if attribute == "commonName":
                names.append(value)
            elif attribute == "organizationName":
                groups.append(value)
    if not names:
        return None
    return User(names[0], groups=(*groups, AUTHENTICATED))
