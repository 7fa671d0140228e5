"""Who is known to this server by tokens, as its settings say: the kinds of tokens in their order, and what keeps them up to date.

What few servers have is loaded by those alone that have it: a client of HTTP and CEL take a tenth of the start, and of the memory at rest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from knarr.service.authentication import User
from services.apiserver.backend import Backend
from services.apiserver.identity.anonymous import Anonymous
from services.apiserver.identity.bootstrap_tokens import BootstrapTokens
from services.apiserver.identity.callers import Callers, Kind
from services.apiserver.settings import IdentitySettings
from services.apiserver.tokens.accounts import ISSUER, ServiceAccountTokens

if TYPE_CHECKING:
    from services.apiserver.identity.followed import Followed
    from services.apiserver.identity.webhook import WebhookTokens


class Known:
    """``callers`` know whoever shows a token. ``run`` it, and ``close`` it at the end. Raises CommandError for files that are no good.

    ``followed`` is what the configuration says, where there is one.
    """

    def __init__(
        self, settings: IdentitySettings, backend: Backend, table: Callable[[str], User], accounts: ServiceAccountTokens | None
    ) -> None:
        audiences = accounts.audiences if accounts is not None else (ISSUER,)
        self.followed = _followed(settings.configuration, backend.clock) if settings.configuration is not None else None
        self._webhook = _webhook(settings.webhook, settings.webhook_ttl_seconds, audiences) if settings.webhook is not None else None
        before: list[Kind] = [BootstrapTokens(backend, audiences)]
        if self.followed is not None:
            before.append(self.followed.issued)
        behind: list[Kind] = [self._webhook] if self._webhook is not None else []
        self.callers = Callers(table, accounts, before=before, behind=behind)

    @property
    def anonymous(self) -> Anonymous | None:
        """Where who says nothing of himself may ask; None: health and version, as ever."""
        return self.followed.anonymous if self.followed is not None else None

    async def run(self) -> None:
        if self.followed is not None:
            await self.followed.run()

    async def close(self) -> None:
        if self._webhook is not None:
            await self._webhook.close()


def _followed(file: Path, now: Callable[[], datetime]) -> Followed:
    from services.apiserver.identity.followed import Followed

    return Followed(file, now)


def _webhook(file: Path, ttl_seconds: float, audiences: Collection[str]) -> WebhookTokens:
    from services.apiserver.identity.webhook import WebhookTokens
    from services.apiserver.webhooks.kubeconfig import read_remote

    return WebhookTokens(read_remote(file), ttl_seconds, audiences)
