"""The options of a cluster's own process, ``python -m services.standalone``: those of ``knarr up`` that choose its settings."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from services.standalone.settings import DEFAULT_DATA_DIR, Choice, ClusterSettings, Ports, choice_of


def options() -> Iterator[tuple[str, Choice, Any]]:
    """Each setting that an option chooses: the option's name without dashes before it, how it is given, and its default."""
    for field in dataclasses.fields(ClusterSettings):
        if "choice" in field.metadata and choice_of(field).help:
            yield field.name.replace("_", "-"), choice_of(field), field.default
    for field in dataclasses.fields(Ports):
        yield f"{field.name.replace('_', '-')}-port", choice_of(field), field.default


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options. One that is not given stays as it was chosen for this data directory before."""
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DATA_DIR, metavar="DIR", help="the cluster's files (default: %(default)s)")
    for name, choice, default in options():
        suffix = f" (default: {default})" if default else ""
        parser.add_argument(
            f"--{name}", type=choice.parse, default=argparse.SUPPRESS, metavar=choice.metavar or None, help=choice.help + suffix
        )


def settings_from(data_dir: Path, given: dict[str, Any]) -> ClusterSettings:
    """What was chosen now, by the options' names with underscores, over what was chosen before."""
    before = ClusterSettings.saved(data_dir)
    ports = {field.name: given[f"{field.name}_port"] for field in dataclasses.fields(Ports) if f"{field.name}_port" in given}
    names = {field.name for field in dataclasses.fields(ClusterSettings)} - {"data_dir", "ports"}
    values = {name: value for name, value in given.items() if name in names}
    return dataclasses.replace(before, ports=before.ports.moved(**ports), **values)


def options_of(settings: ClusterSettings) -> list[str]:
    """The command line that ``settings_from`` turns back into the same settings."""
    chosen = {name: _value(settings, name) for name, _, _ in options()}
    return [f"--{name}={value}" for name, value in {"data-dir": settings.data_dir.absolute(), **chosen}.items()]


def _value(settings: ClusterSettings, option: str) -> Any:
    name = option.removesuffix("-port").replace("-", "_")
    return getattr(settings.ports, name) if option.endswith("-port") else getattr(settings, name)
