"""scripts/profiles.sh keeps the profiles of the compose cluster in .env."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.cluster_client import ROOT


def add(folder: Path, *profiles: str, environment: dict[str, str] | None = None) -> str:
    """What later commands see after profiles were added."""
    script = f". {ROOT}/scripts/profiles.sh; " + "; ".join(f"add_profile {name}" for name in profiles) + '; echo "$COMPOSE_PROFILES"'
    command = ["bash", "-euo", "pipefail", "-c", script]
    environment = {"PATH": "/usr/bin:/bin", **(environment or {})}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def test_profiles_are_added_once_and_kept_beside_other_settings(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KNARR_API_PORT=7443\n")
    assert add(tmp_path, "node-3") == "node-3"
    assert add(tmp_path, "registry", "node-3") == "node-3,registry"
    assert (tmp_path / ".env").read_text() == "KNARR_API_PORT=7443\nCOMPOSE_PROFILES=node-3,registry\n"


def test_profiles_of_the_environment_win(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("COMPOSE_PROFILES=ha\n")
    assert add(tmp_path, "node-3", environment={"COMPOSE_PROFILES": "registry"}) == "registry,node-3"
