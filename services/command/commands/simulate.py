"""``knarr simulate``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import output_option


@click.command("simulate", cls=Command)
@click.argument("trace", type=click.Path(path_type=Path), metavar="TRACE")
@click.option("--seed", type=click.IntRange(0), metavar="NUMBER", help="of what is left to chance (default: as the trace says, else 0)")
@output_option
def simulate(trace: Path, seed: int | None, output: str) -> int:
    """what would become of the pods of a trace, played in a moment; exits with 1 when some still wait for a node in the end

    TRACE is a file of kind Trace: nodes and workloads, and what becomes of them when (docs/scale.md). Nothing runs, and no cluster is
    needed: the scheduler and the controllers are the real ones, the nodes are simulated, and so is the time.
    """
    from services.command.simulate import play

    return play(trace, seed=seed, as_json=output == "json")
