"""Brings a cluster the roles and bindings that every cluster has."""

from __future__ import annotations

from knarr.client.client import Client
from services.apiserver.bootstrap import ensure
from services.apiserver.rbac.defaults import defaults


async def bootstrap_roles(client: Client) -> None:
    """Creates what is missing; several servers may do so at once. Nothing that starts waits for it."""
    for obj in defaults():
        await ensure(client, obj)
