"""Which certificates a port shows, of the Secrets that objects name."""

from __future__ import annotations

from collections.abc import Iterable

from knarr.client.clock import Clock
from services.gateway.haproxy.certificates import Certificate
from services.gateway.haproxy.words import BadWord, host
from services.gateway.sources.annotations import SecretOf
from services.gateway.sources.compiled import Keypair
from services.gateway.sources.keypairs import BadKeypair, own_pem, pem_of

SOURCE_SELF = "the gateway's own"


class Keyring:
    """``secret_of`` gives a Secret by namespace and name."""

    def __init__(self, secret_of: SecretOf, clock: Clock) -> None:
        self._secret_of, self._clock = secret_of, clock
        self._own = ""

    def certificates(self, keypairs: Iterable[Keypair]) -> list[Certificate]:
        """Of a port. The first is shown to who asks for no name that another has: one that is for every name, or else a self-made one."""
        found = [made for pair in keypairs if (made := self._certificate(pair)) is not None]
        first = next((each for each in found if not each.hosts), None)
        if first is None:
            self._own = self._own or own_pem(self._clock.now())
            first = Certificate(SOURCE_SELF, self._own)
        return list(dict.fromkeys([first, *found]))

    def _certificate(self, pair: Keypair) -> Certificate | None:
        secret = self._secret_of(pair.namespace, pair.secret)
        if secret is None:
            return None
        try:
            return Certificate(f"{pair.namespace}/{pair.secret}", pem_of(secret), tuple(host(name) for name in pair.hosts))
        except (BadKeypair, BadWord):
            return None

    def problem_of(self, pair: Keypair) -> str:
        """Why it is not shown, in words; empty when it is."""
        secret = self._secret_of(pair.namespace, pair.secret)
        if secret is None:
            return f"there is no Secret {pair.namespace}/{pair.secret}: a self-made certificate is shown"
        try:
            pem_of(secret)
        except BadKeypair as error:
            return f"the Secret {pair.namespace}/{pair.secret} {error}: a self-made certificate is shown"
        return ""
