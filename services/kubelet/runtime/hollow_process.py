"""What would become of a hollow container's process, where its command says so plainly.

Known are ``true``, ``false``, ``sleep SECONDS``, and of a shell's ``-c`` also ``exit CODE``, ``:``, ``echo`` and ``date``, one after the
other by ``;``, ``&&`` and ends of lines. A process with any other command, or with the image's own, runs until it is told to stop.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from services.kubelet.runtime.plan import Process

SHELLS = ("sh", "bash", "ash", "dash")
# What a shell would do with the rest of its line is not for us to say.
_SPECIAL = re.compile(r"""[|&<>()`$\\"'*?#{}\[\]!]""")
_SEPARATORS = re.compile(r"(;|&&|\n)")
# Longer than this, and it may as well run on.
MAX_SECONDS = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Fate:
    """When after its start a process ends, in seconds, and how."""

    seconds: float = 0.0
    exit_code: int = 0


def fate_of(process: Process) -> Fate | None:
    """How it ends by itself; None when it does not, as far as can be said."""
    words = (*process.command, *process.args)
    if not process.command:
        return None
    if PurePosixPath(words[0]).name in SHELLS and len(words) == 3 and words[1] == "-c":
        return _of_script(words[2])
    return _of_program(words)


def _of_program(words: tuple[str, ...]) -> Fate | None:
    match (PurePosixPath(words[0]).name, *words[1:]):
        case ("true",):
            return Fate()
        case ("false",):
            return Fate(exit_code=1)
        case ("sleep", text):
            seconds = _seconds(text)
            return None if seconds is None else Fate(seconds)
    return None


def _of_script(text: str) -> Fate | None:
    seconds, code = 0.0, 0
    skips = False
    parts = _SEPARATORS.split(text)
    for statement, separator in zip(parts[::2], [*parts[1::2], ""], strict=True):
        words = tuple(statement.split())
        if words and not skips:
            if words[0] == "exit":
                return _of_exit(words, seconds, code)
            found = _of_statement(statement, words)
            if found is None:
                return None
            seconds, code = seconds + found.seconds, found.exit_code
        skips = separator == "&&" and code != 0
    return Fate(seconds, code) if seconds <= MAX_SECONDS else None


def _of_statement(statement: str, words: tuple[str, ...]) -> Fate | None:
    if words[0] in ("echo", "date", ":"):
        return None if _SPECIAL.search(statement.replace('"', "").replace("'", "")) else Fate()
    return _of_program(words)


def _of_exit(words: tuple[str, ...], seconds: float, code: int) -> Fate | None:
    if len(words) == 1:
        return Fate(seconds, code)
    if len(words) == 2 and words[1].isdecimal() and words[1].isascii():
        return Fate(seconds, int(words[1]) % 256)
    return None


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if math.isfinite(seconds) and 0 <= seconds <= MAX_SECONDS else None
