"""Golden files: what is expected, in files that a person reads; `pytest --rewrite` writes what happens now into them.

A rewriting run passes: what it changed is judged by reading `git diff` before it is committed.
"""

from __future__ import annotations

from pathlib import Path

# Set by tests/conftest.py from `--rewrite`.
rewriting = False


def check(golden: Path, text: str) -> None:
    """Compares ``text`` with the file, or writes it."""
    if rewriting:
        golden.write_text(text)
    assert text == golden.read_text()
