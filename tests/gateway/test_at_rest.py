"""What a cluster pays that has nothing to serve."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import services.gateway.component
print([name for name in sys.modules if name.startswith("services.gateway.")])
"""


def test_what_serves_is_loaded_when_there_is_something_to_serve() -> None:
    said = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "['services.gateway.rest', 'services.gateway.settings', 'services.gateway.component']"
