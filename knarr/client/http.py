"""HTTP within the cluster: a session that goes to its target alone, whatever proxy the environment names for what lies outside."""

from __future__ import annotations

from typing import Any

import aiohttp


def open_session(**options: Any) -> aiohttp.ClientSession:
    """A session with aiohttp's ``options``; the caller closes it."""
    return aiohttp.ClientSession(**{**options, "trust_env": False})


def open_outside_session(**options: Any) -> aiohttp.ClientSession:
    """A session to what lies outside the cluster, by the proxy that the environment names; the caller closes it."""
    return aiohttp.ClientSession(**{**options, "trust_env": True})
