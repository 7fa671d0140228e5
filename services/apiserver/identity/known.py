"""Who is known to this server by tokens, as its settings say: the kinds of tokens in their order, and what keeps them up to date."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from knarr.service.authentication import User
from knarr.service.errors import CommandError
from knarr.service.keypair import FileMarks
from services.apiserver.backend import Backend
from services.apiserver.identity.bootstrap_tokens import BootstrapTokens
from services.apiserver.identity.callers import Callers, Kind
from services.apiserver.identity.configuration import Anonymous, Authentication, read_authentication
from services.apiserver.identity.jwt.tokens import IssuedTokens
from services.apiserver.identity.webhook import WebhookTokens
from services.apiserver.settings import IdentitySettings
from services.apiserver.tokens.accounts import ISSUER, ServiceAccountTokens
from services.apiserver.webhooks.kubeconfig import read_remote

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0


class Known:
    """``callers`` know whoever shows a token. ``run`` it, and ``close`` it at the end. Raises CommandError for files that are no good."""

    def __init__(
        self, settings: IdentitySettings, backend: Backend, table: Callable[[str], User], accounts: ServiceAccountTokens | None
    ) -> None:
        self._file = settings.configuration
        self._marks = FileMarks([self._file] if self._file is not None else [])
        self._said = read_authentication(self._file) if self._file is not None else Authentication()
        self.issued = IssuedTokens(backend.clock)
        self.issued.follow(self._said.issuers)
        audiences = accounts.audiences if accounts is not None else (ISSUER,)
        self._webhook = WebhookTokens(read_remote(settings.webhook), settings.webhook_ttl_seconds, audiences) if settings.webhook else None
        behind: list[Kind] = [self._webhook] if self._webhook is not None else []
        self.callers = Callers(table, accounts, before=[BootstrapTokens(backend, audiences), self.issued], behind=behind)

    @property
    def anonymous(self) -> Anonymous | None:
        """Where who says nothing of himself may ask; None: health and version, as ever."""
        return self._said.anonymous

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.issued.run(), name="apiserver/issuers of tokens")
            tasks.create_task(self._follow(), name="apiserver/authentication configuration")

    async def close(self) -> None:
        if self._webhook is not None:
            await self._webhook.close()

    async def _follow(self) -> None:
        while self._file is not None:
            await asyncio.sleep(LOOK_SECONDS)
            if self._marks.changed():
                self.take(self._file)

    def take(self, file: Path) -> None:
        """What a file says counts from now on; one that is no good changes nothing."""
        try:
            self._said = read_authentication(file)
        except CommandError as error:
            log.error("the authentication configuration is no good; the former one holds on", extra={"error": error})
            return
        self.issued.follow(self._said.issuers)
        log.info("the authentication configuration was read anew", extra={"path": str(file), "issuers": len(self._said.issuers)})
