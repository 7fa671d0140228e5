"""What a volume is to show and cannot be had, now or ever."""

from __future__ import annotations


class Missing(Exception):
    """In words what it is; the message of the FailedMount event."""
