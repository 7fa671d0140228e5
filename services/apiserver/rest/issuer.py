"""By what others judge the tokens of this cluster's service accounts themselves: OpenID Connect's discovery, and the public keys."""

from __future__ import annotations

import orjson

from services.apiserver.rest.response import Response
from services.apiserver.tokens.accounts import ISSUER, ServiceAccountTokens

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/openid/v1/jwks"
KEY_SET = "application/jwk-set+json"
# As in Kubernetes; a key is never replaced under its name.
CACHED = (b"cache-control", b"public, max-age=3600")


class Issuer:
    """Answers both paths, where tokens are issued at all."""

    def __init__(self, accounts: ServiceAccountTokens | None) -> None:
        self._accounts = accounts
        self.paths = (CONFIGURATION, KEYS) if self._accounts is not None else ()

    def answer(self, path: str) -> Response | None:
        if self._accounts is None or path not in self.paths:
            return None
        keys = self._accounts.keys
        if path == KEYS:
            return Response(orjson.dumps({"keys": keys.public}), content_type=KEY_SET, caching=CACHED)
        configuration = {
            "issuer": ISSUER,
            "jwks_uri": f"{ISSUER}{KEYS}",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": keys.algorithms,
        }
        return Response(orjson.dumps(configuration), caching=CACHED)
