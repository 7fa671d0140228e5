"""Logs stay short, whatever others cause: by place in the code, and by file."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

from knarr.service import logs
from knarr.service.logs import BUDGET_LINES, LINES_A_SECOND, TRACEBACK_LINES, Sparing


def record(line: int = 1, level: int = logging.WARNING, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, None) if error is not None else None
    return logging.LogRecord("x", level, "x.py", line, "a message of %s", ("mine",), info)


def written(sparing: Sparing, count: int, line: int = 1, level: int = logging.WARNING, error: BaseException | None = None) -> int:
    return sum(sparing.filter(record(line, level, error)) for _ in range(count))


def test_a_place_has_a_budget_of_its_own_and_what_was_left_out_is_told() -> None:
    now = 0.0
    sparing = Sparing(lambda: now)
    assert written(sparing, 1000) == BUDGET_LINES
    assert written(sparing, 10, line=2) == 10
    now = 1.0
    first = record()
    assert sparing.filter(first)
    assert "left_out=800" in logs.TextFormatter().format(first)
    assert written(sparing, 100) == LINES_A_SECOND - 1
    now = 1000.0
    assert written(sparing, 1000) == BUDGET_LINES


def test_tracebacks_cost_more_and_errors_of_another_type_are_another_cause() -> None:
    sparing = Sparing(lambda: 0.0)
    assert written(sparing, 1000, error=ValueError()) == BUDGET_LINES / TRACEBACK_LINES
    assert written(sparing, 1000, error=KeyError()) == BUDGET_LINES / TRACEBACK_LINES


def test_what_is_for_debugging_is_never_left_out() -> None:
    assert written(Sparing(lambda: 0.0), 1000, level=logging.DEBUG) == 1000


LOUD = """
import logging, os, sys
from pathlib import Path
from knarr.service import logs
logs.FILE_BYTES, logs.BUDGET_LINES = 10_000, float("inf")
logs.configure("text", "info", Path(sys.argv[1]))
for number in range(1000):
    logging.warning("line %d of a thousand", number)
os.write(1, b"the output\\n")
os.write(2, b"the end\\n")
"""


def test_a_file_is_begun_anew_for_all_who_write_to_it(tmp_path: Path) -> None:
    path = tmp_path / "knarr.log"
    with path.open("ab") as output:
        subprocess.run([sys.executable, "-c", LOUD, str(path)], stdout=output, stderr=output, check=True, timeout=60)
    assert {entry.name for entry in tmp_path.iterdir()} == {"knarr.log", "knarr.log.1"}
    kept, text = (tmp_path / "knarr.log.1").read_text(), path.read_text()
    assert 10_000 < len(kept) < 10_200 and len(text) < 10_200
    assert text.endswith("line 999 of a thousand\nthe output\nthe end\n")
    numbers = [int(line.split()[-4]) for line in (kept + text).splitlines() if "thousand" in line]
    assert numbers == list(range(numbers[0], 1000))
