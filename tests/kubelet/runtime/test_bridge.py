"""Looking after the bridge of the pods' network."""

from __future__ import annotations

from pathlib import Path

from services.kubelet.runtime.bridge import BridgeKeeper
from services.kubelet.runtime.port import RuntimeFailure


async def test_only_a_bridge_that_was_here_is_missed(tmp_path: Path) -> None:
    renewals: list[str] = []

    async def renew() -> None:
        renewals.append("renewed")
        if len(renewals) == 1:
            raise RuntimeFailure("busy")
        (tmp_path / "br0").touch()

    keeper = BridgeKeeper("br0", renew, interfaces=tmp_path)
    await keeper.look()
    assert renewals == []
    (tmp_path / "br0").touch()
    await keeper.look()
    assert renewals == []
    (tmp_path / "br0").unlink()
    for _ in range(3):
        await keeper.look()
    assert renewals == ["renewed", "renewed"]
