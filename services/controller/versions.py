"""The versions of what is served, by the names that objects refer to them by."""

from __future__ import annotations

from knarr.client.client import Client
from knarr.machinery.resources import Version


class NoVersion(Exception):
    """Nothing of that name is served."""


class Versions:
    """Asks for what is served again when a name is not known, and when what a definition gave it to may be served no longer."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], Version] = {}

    async def of(self, group: str, kind: str, api_version: str) -> Version:
        """A version of the group in which there is the kind, whichever ``api_version`` says. Raises NoVersion, StatusError."""
        found = self._known.get((group, kind))
        if found is not None and found.form.has_message:
            # What is built in stays.
            return found
        resources = await self._client.resources()
        if found is None or found.resource not in resources:
            # The first of several is the one that is stored.
            self._known = {(version.group, version.kind): version for resource in resources for version in reversed(resource.versions)}
            found = self._known.get((group, kind))
        if found is None:
            raise NoVersion(f'no matches for kind "{kind}" in version "{api_version}"')
        return found
