"""By which logins an image is asked for on behalf of a pod."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cached_property
from pathlib import Path

from knarr.api.core.v1 import core_pb2 as core
from services.kubelet.node.credential_providers import CredentialProviders
from services.kubelet.node.keyring import Credential, logins_of, secret_credentials
from services.kubelet.node.registry_logins import from_node
from services.kubelet.pod.references import References


class PullLogins:
    """In Kubernetes' order: of the pod's pull secrets, of the node's own file, of the node's credential providers. Each is looked for once,
    and no earlier than one before it has failed: programs may have to be run."""

    def __init__(self, pod: core.Pod, reference: str, references: References, config: Path | None, providers: CredentialProviders) -> None:
        self._pod, self._reference, self._secrets = pod, reference, references.secrets
        self._config, self._providers = config, providers
        self._names = [named.name for named in pod.spec.image_pull_secrets if named.name]
        self._provided: list[Credential] | None = None

    @cached_property
    def of_secrets(self) -> list[Credential]:
        return secret_credentials(self._reference, self._secrets, self._names)

    @property
    def missing(self) -> list[str]:
        """The names of pull secrets that are not there."""
        return [name for name in self._names if name not in self._secrets]

    @property
    def broken(self) -> list[str]:
        """The names of pull secrets that have no logins."""
        return [name for name in self._names if name in self._secrets and not isinstance(logins_of(self._secrets[name]), dict)]

    async def of_accounts(self) -> list[Credential]:
        """Those that providers know the pod's ServiceAccount by."""
        return [credential for credential in await self._of_providers() if credential.account is not None]

    async def __aiter__(self) -> AsyncIterator[Credential]:
        for credential in self.of_secrets:
            yield credential
        if self._config is not None:
            for credential in await from_node(self._reference, self._config):
                yield credential
        for credential in await self._of_providers():
            yield credential

    async def _of_providers(self) -> list[Credential]:
        if self._provided is None:
            self._provided = await self._providers.credentials(self._reference, self._pod)
        return self._provided
