"""``knarr simulate``: what would become of the pods of a trace, on the nodes of that trace."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from services.command.output import deliver
from services.command.table import aligned
from services.simulation.observer import Sample
from services.simulation.reading import read_trace
from services.simulation.report import Report, text
from services.simulation.simulation import simulate

# Who waits longer than that wants to know how far it is.
TELL_SECONDS = 5.0


def play(file: Path, *, seed: int | None, as_json: bool) -> int:
    """Prints the report; 1 where pods wait for a node in the end, else 0."""
    trace = read_trace(file, seed)
    report = simulate(trace, _Progress(trace.until))
    deliver(json.dumps(report.as_json(), indent=2) if as_json else "\n".join(lines(report)))
    return 1 if report.remainder.pods else 0


def lines(report: Report) -> Iterator[str]:
    for part in text(report):
        if isinstance(part, str):
            yield part
        else:
            yield from aligned(part)


class _Progress:
    """Tells a person at a terminal how far it is, every few seconds of real time."""

    def __init__(self, until: float) -> None:
        self._until, self._told = until, time.monotonic()

    def __call__(self, sample: Sample) -> None:
        if time.monotonic() - self._told < TELL_SECONDS or not sys.stderr.isatty():
            return
        self._told = time.monotonic()
        share = 100 * sample.at / self._until
        print(f"{share:3.0f}% simulated: {sample.running} pods run, {sample.pending} do not yet", file=sys.stderr, flush=True)
