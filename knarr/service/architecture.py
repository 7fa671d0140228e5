"""What kind of machine this is, as Go names it: so do images, Nodes and clients."""

from __future__ import annotations

import platform

_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}


def own_architecture() -> str:
    """``amd64`` or ``arm64``; of another machine what it calls itself."""
    return _NAMES.get(platform.machine(), platform.machine())
