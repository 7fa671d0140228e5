"""What the nameserver brings into the process."""

from __future__ import annotations

import subprocess
import sys


def test_it_brings_no_client_of_http() -> None:
    script = "import sys, services.dns.component; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split())
    assert "dns" in loaded
    assert not loaded & {"httpx", "httpx2", "httpcore", "httpcore2", "h2", "aioquic"}
