"""What people and installed files call by earlier names goes on working."""

from __future__ import annotations

import subprocess
import sys

import pytest

from services.command.main import main
from services.standalone import cli
from tests.support.cluster_client import ROOT


def test_a_script_of_an_earlier_installation_finds_the_command() -> None:
    assert cli.main is main


@pytest.mark.parametrize("name", ["trust", "keeper"])
def test_a_module_is_found_by_its_earlier_name(name: str) -> None:
    command = [sys.executable, "-m", f"services.standalone.{name}", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    assert f"usage: python -m services.compose.{name}" in done.stdout
