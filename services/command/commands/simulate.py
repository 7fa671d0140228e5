"""``knarr simulate``."""

from __future__ import annotations

from pathlib import Path

import click

from services.command.group import Command
from services.command.options import data_dir, output_option
from services.standalone.settings import ClusterSettings


def _duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    # What reads YAML and knows the contracts is loaded by those alone who ask for it.
    from knarr.service.configuration_file import seconds_of

    try:
        seconds = seconds_of(value, "--for")
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error
    if seconds < 1.0:
        raise click.BadParameter(f"{value!r} is too short: must be a second or more", context, parameter)
    return seconds


@click.command("simulate", cls=Command)
@click.argument("trace", type=click.Path(path_type=Path), metavar="TRACE")
@click.option("--seed", type=click.IntRange(0), metavar="NUMBER", help="of what is left to chance (default: as the trace says, else 0)")
@click.option("--record", is_flag=True, help="write TRACE instead: what happens in the cluster that runs")
@click.option("--for", "seconds", metavar="DURATION", callback=_duration, help="how long to record, like 30m (default: until Ctrl-C)")
@data_dir
@output_option
def simulate(trace: Path, seed: int | None, record: bool, seconds: float | None, data_dir: Path, output: str) -> int:
    """what would become of the pods of a trace, played in a moment; exits with 1 when some still wait for a node in the end

    TRACE is a file of kind Trace: nodes and workloads, and what becomes of them when (docs/scale.md). Nothing runs, and no cluster is
    needed: the scheduler and the controllers are the real ones, the nodes are simulated, and so is the time.

    With --record it is written: the nodes and workloads of the cluster that runs, and what happens to them until the recording ends.
    """
    if record:
        if seed is not None:
            raise click.UsageError("--seed is for playing a trace: of what is recorded nothing is left to chance")
        from services.command.record import record as write

        return write(ClusterSettings(data_dir=data_dir).files, trace, seconds)
    if seconds is not None:
        raise click.UsageError("--for says how long to record; add --record")
    from services.command.simulate import play

    return play(trace, seed=seed, as_json=output == "json")
