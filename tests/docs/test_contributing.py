"""The examples of CONTRIBUTING.md pass the checks that what is made from them must pass."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.cluster_client import ROOT

EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_examples_have_the_form_and_the_types_that_lint_asks_for(tmp_path: Path) -> None:
    files = []
    for number, code in enumerate(EXAMPLE.findall((ROOT / "CONTRIBUTING.md").read_text())):
        files.append(tmp_path / f"example_{number}.py")
        files[-1].write_text(code)
    assert files
    settings = ROOT / "pyproject.toml"
    for command in (
        ["mypy", "--config-file", settings, "--cache-dir", ROOT / ".mypy_cache", *files],
        ["ruff", "check", "--no-cache", "--config", settings, *files],
        ["ruff", "format", "--check", "--no-cache", "--config", settings, *files],
    ):
        done = subprocess.run([sys.executable, "-m", *map(str, command)], capture_output=True, text=True, timeout=100, cwd=ROOT)
        assert done.returncode == 0, done.stdout + done.stderr
