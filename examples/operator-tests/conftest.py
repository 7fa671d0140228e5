"""The operator at work in the test's namespace."""

from pathlib import Path

import pytest
from kopf.testing import KopfRunner

HERE = Path(__file__).parent


@pytest.fixture
def operator(kubectl, namespace):
    kubectl("apply", "-f", str(HERE / "greetings.yaml"))
    kubectl("wait", "--for=condition=Established", "crd/greetings.example.com", "--timeout=60s")
    with KopfRunner(["run", "--namespace", namespace, str(HERE / "greeter.py")], timeout=30) as runner:
        yield runner
