"""What a person at a terminal sees while a command works: for how long, and how far it is."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress

# What is done sooner needs no words.
PATIENCE_SECONDS = 1.0


class Working:
    """Shows a line on standard error while the block takes longer than a second; nothing where that is no terminal.

    Called with what is done and what there is in all, it shows them too, in ``unit``s of ``size``.
    """

    def __init__(self, text: str, unit: str = "", size: float = 1.0) -> None:
        self._text, self._unit, self._size = text, unit, size
        self._done, self._total = 0, 0
        self._over = False
        self._lock = threading.Lock()
        self._shown: Progress | None = None
        self._timer = threading.Timer(PATIENCE_SECONDS, self._show)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with self._lock:
            self._over = True
            if self._shown is not None:
                self._shown.stop()

    def __call__(self, done: int, total: int) -> None:
        self._done, self._total = done, total
        if self._shown is not None:
            self._shown.update(self._shown.task_ids[0], completed=done, total=total or None, amount=self._amount())

    def _amount(self) -> str:
        return f"{self._done / self._size:.0f} of {self._total / self._size:.0f} {self._unit}" if self._total else ""

    def _show(self) -> None:
        with self._lock:
            if self._over:
                return
            # Loaded only where it is needed: it takes as long as the whole of a quick command.
            from rich.console import Console
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[amount]}"),
                TimeElapsedColumn(),
            )
            # Lines on standard output go above it where they share the terminal, and never elsewhere than to standard output.
            console = Console(stderr=True)
            shown = Progress(*columns, console=console, transient=True, redirect_stdout=sys.stdout.isatty())
            shown.add_task(self._text, completed=self._done, total=self._total or None, amount=self._amount())
            shown.start()
            self._shown = shown
