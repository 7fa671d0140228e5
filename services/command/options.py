"""Options of the ``knarr`` command, made from the fields of the settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

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


def data_dir(command: F) -> F:
    """Adds ``--data-dir``."""
    return click.option(
        "--data-dir",
        type=Directory(),
        default=DEFAULT_DATA_DIR,
        metavar="DIR",
        help=f"the cluster's files (default: {DEFAULT_DATA_DIR})",
    )(command)


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
