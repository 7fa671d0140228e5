"""Authentication: finds the user of a request by its bearer token or by the client certificate of its connection."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

from knarr.service.authentication import IMPERSONATE_PREFIX, TokenAuthenticator, User, unauthorized
from knarr.service.client_certificates import CertifiedUser
from services.apiserver.api import Api
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.identity.impersonation import Impersonation
from services.apiserver.rest.request import Request

# The key of the connection's state under which the protocol puts the ``CertifiedUser`` of a verified certificate.
CERTIFICATE_USER = "certificate_user"
BEARER = b"bearer "
_IMPERSONATE = IMPERSONATE_PREFIX.encode()


class Authenticator:
    """Finds the user of a request. A token that is wrong is refused even beside a good certificate."""

    def __init__(self, tokens: TokenAuthenticator, api: Api, anonymous: Callable[[], Anonymous | None]) -> None:
        self._tokens, self._api, self._anonymous = tokens, api, anonymous

    def user(self, request: Request) -> User | Coroutine[Any, Any, User]:
        """The user as whom the request is to be answered, or what answers him later: most are known at once. Raises Unauthorized when
        nobody is named, Forbidden or BadRequest when somebody else is to be played who may not be."""
        found = self._named(request)
        for name in request.headers:
            if name.startswith(_IMPERSONATE):
                return self._played(request, found)
        if not isinstance(found, User):
            return self._later(request, found)
        request.greet(found.name)
        return found

    async def _later(self, request: Request, asking: Coroutine[Any, Any, User]) -> User:
        user = await asking
        request.greet(user.name)
        return user

    async def _played(self, request: Request, found: User | Coroutine[Any, Any, User]) -> User:
        user = found if isinstance(found, User) else await found
        request.greet(user.name)
        # Who may not play somebody is known all the same.
        request.user = user
        return await self._api.impersonate(user, Impersonation.of_headers(request.scope["headers"]))

    def _named(self, request: Request) -> User | Coroutine[Any, Any, User]:
        authorization = request.headers.get(b"authorization")
        # Another scheme, and no token, name nobody, as in Kubernetes.
        if authorization is not None and authorization[:7].lower() == BEARER and authorization[7:].strip():
            return self._tokens.authenticate(authorization.decode("latin-1"))
        certified: CertifiedUser | None = request.scope.get("state", {}).get(CERTIFICATE_USER)
        user = certified.at(time.time()) if certified is not None else None
        if user is None and certified is None and (anonymous := self._anonymous()) is not None and anonymous.admits(request.path):
            return User.ANONYMOUS
        if user is None:
            raise unauthorized()
        return user

    @property
    def opens(self) -> bool:
        """Whether what is for everybody is so for who names nobody: where the configuration speaks of such callers, it alone says."""
        return self._anonymous() is None
