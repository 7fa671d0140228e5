"""Options of the ``knarr`` command, made from the fields of the settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from services.command.named import place
from services.standalone.options import options
from services.standalone.settings import DEFAULT_DATA_DIR, Choice

F = TypeVar("F", bound=Callable[..., Any])


class Chosen(click.ParamType[Any]):
    """A type of ``knarr.service.options`` for click; its words for a mistake stay its own."""

    def __init__(self, choice: Choice) -> None:
        self._choice = choice
        self.name = choice.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self._choice.parse(value)
        except argparse.ArgumentTypeError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self._choice.among if word.startswith(incomplete)]


class Directory(click.Path):
    """A directory that is there or can be made."""

    def __init__(self) -> None:
        super().__init__(file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value):
            self.fail("it is empty; give a directory, or leave the option out", param, ctx)
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        try:
            whole = path.absolute()
        except FileNotFoundError:
            self.fail("the directory that you are in is there no more; change to another one, or give a path from / on", param, ctx)
        try:
            str(whole).encode()
        except UnicodeEncodeError:
            self.fail(f"{os.fsencode(whole)!r} is not UTF-8, which etcd and the settings are written in; choose another", param, ctx)
        for above in whole.parents:
            if above.exists() and not above.is_dir():
                self.fail(f"{path} is below a file, {above}; choose another directory", param, ctx)
        return path


# Where a command line keeps the name of its cluster, for the option that asks where its files are.
_NAMED = "knarr.cluster-name"


# … and the one that a file says, which counts where nothing else does.
_NAMED_IN_FILE = "knarr.cluster-name-in-file"


def _name(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    if value is None:
        return
    _check_name(context, parameter, value)
    if context.meta.setdefault(_NAMED, value) != value:
        raise click.UsageError(f"two clusters are named: {context.meta[_NAMED]} and {value}", context)


def _check_name(context: click.Context, parameter: click.Parameter, value: str) -> None:
    if not place.is_name(value):
        words = "is no cluster's name: small letters, digits and -, at most 32, a letter or digit at both ends"
        raise click.BadParameter(f"{value!r} {words}", context, parameter)


def _config(context: click.Context, parameter: click.Parameter, value: Path | None) -> Mapping[str, Any]:
    if value is None or context.resilient_parsing:
        return {}
    # What reads it is loaded by those alone who have one.
    from services.standalone.cluster_file import read_cluster_file

    read = read_cluster_file(value)
    if read.name:
        _check_name(context, parameter, read.name)
        context.meta[_NAMED_IN_FILE] = read.name
    return read.given


def config_option(command: F) -> F:
    """Adds ``--config``: a command gets what the file says as ``config``, by the names of the options with underscores."""
    words = "a file that says what options say, which go before it (docs/clusters.md)"
    return click.option(
        "--config", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", callback=_config, is_eager=True, help=words
    )(command)


def _folder(*, may_be_new: bool) -> Callable[[click.Context, click.Parameter, Path | None], Path]:
    def folder(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path:
        name = context.meta.get(_NAMED) or (context.meta.get(_NAMED_IN_FILE) if value is None else None)
        if name is None:
            return value or Directory().convert(DEFAULT_DATA_DIR, parameter, context)
        if value is not None:
            raise click.UsageError(f"--data-dir and the name {name} both say where the cluster's files are; give one of them", context)
        found = place.data_dir(name)
        if not (may_be_new or context.resilient_parsing or found.is_dir()):
            raise place.unknown(name)
        return found

    return folder


def is_cluster_chosen(context: click.Context) -> bool:
    """Whether a command line says which cluster it is about."""
    return _NAMED in context.meta or context.get_parameter_source("data_dir") is ParameterSource.COMMANDLINE


class ClusterName(click.ParamType[Any]):
    """The name of a cluster; those that there are complete it."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(name) for name in place.names() if name.startswith(incomplete)]


def data_dir(command: F, *, may_be_new: bool = False) -> F:
    """Adds ``--data-dir`` and ``--name``, which say where a cluster's files are; a command gets that as ``data_dir``."""
    words = "the cluster of this name (`knarr list`)" if not may_be_new else "a cluster of this name, beside others (docs/clusters.md)"
    command = click.option(
        "--name", "cluster_name", type=ClusterName(), metavar="NAME", callback=_name, is_eager=True, expose_value=False, help=words
    )(command)
    return click.option(
        "--data-dir",
        type=Directory(),
        metavar="DIR",
        callback=_folder(may_be_new=may_be_new),
        help=f"the cluster's files (default: {DEFAULT_DATA_DIR})",
    )(command)


def cluster_name(*, required: bool = False) -> Callable[[F], F]:
    """Adds NAME as an argument, beside what ``data_dir`` adds."""
    return click.argument(
        "named", type=ClusterName(), metavar="NAME" if required else "[NAME]", required=required, callback=_name, is_eager=True,
        expose_value=False,
    )  # fmt: skip


def kubeconfig_option(command: F) -> F:
    """Adds ``--kubeconfig``."""
    words = "whose cluster it is (default: that of `knarr up`)"
    return click.option("--kubeconfig", type=click.Path(path_type=Path), metavar="FILE", help=words)(command)


def namespace_option(command: F) -> F:
    """Adds ``--namespace``."""
    return click.option("--namespace", "-n", default="default", metavar="NAME", help="where (default: default)")(command)


def output_option(command: F) -> F:
    """Adds ``--output``, for people or for programs."""
    return click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="(default: text)")(command)


def settings_options(command: F) -> F:
    """Adds an option for each setting that has one; None stands for what is not given."""
    for name, choice, default in reversed(list(options())):
        suffix = f" (default: {default})" if default else ""
        command = click.option(f"--{name}", type=Chosen(choice), metavar=choice.metavar, help=choice.help + suffix)(command)
    return command
