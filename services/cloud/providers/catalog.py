"""The providers by name: the one list. A provider's module is imported when it is chosen, so that its libraries are needed only then."""

from __future__ import annotations

import importlib

from services.cloud.configuration import ConfigurationError
from services.cloud.provider import ProviderType

PROVIDERS: dict[str, str] = {
    "aws": "services.cloud.providers.aws.provider",
    "local": "services.cloud.providers.local.provider",
    "external": "services.cloud.providers.external.provider",
}


def provider_type(name: str) -> ProviderType:
    """How a provider is configured and made; ConfigurationError when there is none, or a library of its is missing."""
    if name not in PROVIDERS:
        raise ConfigurationError(f"there is no cloud provider {name!r}; there are {', '.join(sorted(PROVIDERS))}")
    try:
        module = importlib.import_module(PROVIDERS[name])
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"the cloud provider {name} needs the Python package {error.name}: pip install {error.name}") from error
    found: ProviderType = module.PROVIDER
    return found
