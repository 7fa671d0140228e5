"""How long the node's reports wait after the API server did not take one: 0.4 s, doubled up to 7 s, below a Lease's duration."""

from __future__ import annotations

from knarr.client.backoff import Backoff

RETRY = Backoff(first_seconds=0.4, limit_seconds=7.0)
