"""What a cluster does not load that has no use for it."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["services.apiserver.__main__", "services.standalone.cluster"])
def test_a_client_of_http_and_cel_wait_for_who_needs_them(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"aiohttp", "knarr.machinery.cel.compiler", "re2", "docker"} & set(done.stdout.split())
