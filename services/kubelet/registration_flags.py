"""The flags that say what a Node begins with."""

from __future__ import annotations

import argparse

from knarr.objects.tolerations import parse_taint


def taints(text: str) -> tuple[str, ...]:
    """``key=value:effect``, separated by commas; the value may be left out."""
    found = tuple(filter(None, text.split(",")))
    for taint in found:
        try:
            parse_taint(taint)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{taint!r} is no taint: it {error}") from None
    return found


def add_registration_flags(made: argparse.ArgumentParser) -> None:
    """Adds them."""
    made.add_argument(
        "--register-with-taints",
        type=taints,
        default=(),
        metavar="KEY=VALUE:EFFECT,…",
        help="taints of a Node that is registered for the first time (default: none)",
    )
