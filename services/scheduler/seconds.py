"""A time in seconds that a file writes as Kubernetes does: ``1m30s``."""

from __future__ import annotations


class Seconds(float):
    """Says in a dataclass how its field is written."""
