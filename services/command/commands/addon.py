"""``knarr addon``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from services.command.group import Commands
from services.command.options import data_dir, output_option
from services.command.output import deliver
from services.command.working import Working
from services.standalone.settings import ClusterSettings

if TYPE_CHECKING:
    from services.command.addons.addon import Addon, Place, Tell


class AddonName(click.ParamType[Any]):
    """One of the catalog, which is loaded only when a name is to be known."""

    name = "addon"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from services.command.addons.catalog import NAMES, named

        if value not in NAMES:
            self.fail(f"invalid choice: {value!r} (choose from {', '.join(NAMES)})", param, ctx)
        return named(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from services.command.addons.catalog import NAMES

        return [CompletionItem(name) for name in NAMES if name.startswith(incomplete)]


_NAME = click.argument("addon", type=AddonName(), metavar="NAME")


@click.group("addon", cls=Commands, short_help="what the cluster has beyond its bare self: list, enable and disable it")
def addon_group() -> None:
    """What the cluster has beyond its bare self."""


@addon_group.command("list")
@data_dir
@output_option
def list_addons(data_dir: Path, output: str) -> int:
    """each add-on, whether it is on, and where it runs"""
    from services.command.addons.switching import as_dicts, as_rows, place_of, states
    from services.command.table import aligned

    with Working("asking"), place_of(_settings(data_dir)) as place:
        found = states(place)
    deliver(json.dumps(as_dicts(found), indent=2) if output == "json" else "\n".join(aligned(as_rows(found))))
    return 0


@addon_group.command("enable")
@data_dir
@_NAME
@output_option
def enable_addon(data_dir: Path, addon: Addon, output: str) -> int:
    """have an add-on, and wait until it works; one that is on already is mended where it has to be"""
    from services.command.addons.switching import enable

    return _turned(data_dir, addon, output, "enabling", enable)


@addon_group.command("disable")
@data_dir
@_NAME
@output_option
def disable_addon(data_dir: Path, addon: Addon, output: str) -> int:
    """do without an add-on, and wait until nothing of it is left, what it kept included"""
    from services.command.addons.switching import disable

    return _turned(data_dir, addon, output, "disabling", disable)


def _turned(data_dir: Path, addon: Addon, output: str, doing: str, turn: Callable[[Place, Addon, Tell], Sequence[str]]) -> int:
    from services.command.addons.switching import as_dict, place_of

    def tell(line: str) -> None:
        print(f"  {line}", file=sys.stderr if output == "json" else sys.stdout, flush=True)

    with Working(f"{doing} {addon.name}"), place_of(_settings(data_dir)) as place:
        lines = list(turn(place, addon, tell))
        state = addon.state(place)
    if output == "json":
        deliver(json.dumps({"name": addon.name, **as_dict(state), "next": lines}, indent=2))
    else:
        deliver("\n".join([f"{addon.name} is {state.state}", *(f"  {line}" for line in lines)]))
    return 0


def _settings(data_dir: Path) -> ClusterSettings:
    return ClusterSettings.saved(data_dir)
