"""The version that every component reports, and clients compare with their own.

The Kubernetes API that is served leads: its message types are those of ``tools/schema``. kubectl warns beyond one minor of skew.
"""

from __future__ import annotations

MAJOR, MINOR, PATCH = "1", "37", "0"
BUILD = "knarr.0.1"
GIT_VERSION = f"v{MAJOR}.{MINOR}.{PATCH}+{BUILD}"
