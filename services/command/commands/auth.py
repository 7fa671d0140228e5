"""``knarr auth``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Commands
from services.command.options import data_dir, namespace_option, output_option
from services.standalone.settings import ClusterSettings


@click.group(cls=Commands)
def auth() -> None:
    """who may do what in the running cluster"""


@auth.command()
@data_dir
@click.argument("verb", metavar="VERB")
@click.argument("what", metavar="RESOURCE")
@click.argument("name", default="", metavar="[NAME]")
@namespace_option
@click.option("--all-namespaces", "-A", is_flag=True, help="in the whole cluster, which is also where what has no namespace lies")
@click.option("--as", "user", default="", metavar="USER", help="about whom, like system:serviceaccount:NAMESPACE:NAME")
@click.option("--as-group", "groups", multiple=True, metavar="GROUP", help="a group that he is in; repeat for each")
@output_option
def why(
    data_dir: Path, verb: str, what: str, name: str, namespace: str, all_namespaces: bool, user: str, groups: tuple[str, ...], output: str
) -> int:
    """by which rule somebody may do something, or what is missing for it; exits with 1 when he may not

    RESOURCE is like pods, pods/log, deployments.apps/scale, or a path that begins with a slash.
    """
    from services.command.auth import Question
    from services.command.auth import why as ask

    question = Question(verb, what, name, "" if all_namespaces else namespace, user, groups)
    return ask(ClusterSettings(data_dir=data_dir).files, question, as_json=output == "json")
