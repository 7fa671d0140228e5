"""What must be so on the node's disk before a container starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from services.kubelet.container.inputs import ConfigError
from services.kubelet.runtime.plan import Mount


def refuse_escapes(mounts: Iterable[Mount]) -> None:
    """A link that a container laid into its volume must not show another container the node. Raises ConfigError."""
    for mount in mounts:
        if mount.root and not Path(mount.source).resolve().is_relative_to(Path(mount.root).resolve()):
            raise ConfigError(f"the subPath of {mount.target} leads out of its volume")


def prepare_termination_log(path: Path) -> None:
    """An empty file that any user of the container may write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    path.chmod(0o666)
