"""``knarr addon``: what is on, and turning one of them on or off."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from knarr.service.errors import CommandError
from services.command.addons.addon import OFF, Addon, Place, State, Tell
from services.command.addons.catalog import ADDONS
from services.command.api import ApiClient, Refused
from services.command.images import images_of
from services.standalone.settings import ClusterSettings
from services.standalone.signals import interruptible, undisturbed


@contextmanager
def place_of(settings: ClusterSettings) -> Iterator[Place]:
    """The cluster of a data directory. Raises CommandError where none runs."""
    path = settings.files.kubeconfig
    if not path.exists() or not settings.files.state.exists():
        raise CommandError(f"no cluster runs from {settings.files.root}; start it first: `knarr up`")
    with ExitStack() as stack:
        api = stack.enter_context(ApiClient(path))
        try:
            yield Place(settings, api, lambda: stack.enter_context(images_of(settings)))
        except Refused as refused:
            raise CommandError(f"the cluster refuses it: {refused}") from refused


def states(place: Place) -> list[tuple[Addon, State]]:
    return [(addon, addon.state(place)) for addon in ADDONS]


def as_dicts(found: Sequence[tuple[Addon, State]]) -> list[dict[str, Any]]:
    """For programs; ``details`` depends on the add-on."""
    return [{"name": addon.name, **as_dict(state), "built_in": addon.built_in, "what": addon.what} for addon, state in found]


def as_dict(state: State) -> dict[str, Any]:
    return {"state": state.state, "words": state.words, "details": state.facts}


def as_rows(found: Sequence[tuple[Addon, State]]) -> list[list[str]]:
    """A table with its head."""
    rows = [[addon.name, state.state, "built in" if addon.built_in else "in pods", _told(addon, state)] for addon, state in found]
    return [["NAME", "STATE", "WHERE", "WHAT"], *rows]


def _told(addon: Addon, state: State) -> str:
    return f"{addon.what} ({state.words})" if state.words else addon.what


def enable(place: Place, addon: Addon, tell: Tell) -> Sequence[str]:
    """What to do next. One that was off and is interrupted on its way is taken away again."""
    before = addon.state(place).state
    try:
        with interruptible():
            return addon.enable(place, tell)
    except KeyboardInterrupt:
        if before == OFF:
            with undisturbed():
                print(f"interrupted: taking {addon.name} away again", file=sys.stderr)
                addon.disable(place, tell)
        raise


def disable(place: Place, addon: Addon, tell: Tell) -> Sequence[str]:
    return addon.disable(place, tell)
