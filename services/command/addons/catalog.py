"""The add-ons, in the order in which they are told. One more is a folder beside the others and a line here."""

from __future__ import annotations

from services.command.addons.addon import Addon
from services.command.addons.dashboard.addon import Dashboard
from services.command.addons.local_path.addon import LocalPath
from services.command.addons.metrics.addon import Metrics
from services.command.addons.registry.addon import Registry

ADDONS: tuple[Addon, ...] = (Metrics(), Registry(), Dashboard(), LocalPath())
NAMES = tuple(addon.name for addon in ADDONS)


def named(name: str) -> Addon:
    """Raises KeyError."""
    return {addon.name: addon for addon in ADDONS}[name]
