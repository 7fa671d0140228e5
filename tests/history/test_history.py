"""API servers over a real etcd under faults: what clients heard, read and watched is a history that may be.

``make history SECONDS=60 SEEDS=1-60`` runs longer ones.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.history.run import run

# The first with a restore, and a full etcd; 21 and 8 once failed.
RUNS = (("pair", 21), ("sole", 1), ("members", 3), ("members", 8))
SECONDS = 7.0
OPERATIONS = 201


@pytest.mark.etcd
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("shape", "seed"), RUNS)
async def test_a_run_is_clean(shape: str, seed: int, tmp_path: Path) -> None:
    report = await run(seed, SECONDS, tmp_path, shape, OPERATIONS)
    assert not report.violations, str(report)
    assert len(report.history.operations) >= OPERATIONS and len(report.history.faults) > 2
