"""HTTP: within the cluster straight to its target, whatever proxy the environment names for what lies outside; and to that by the proxy."""

from __future__ import annotations

from typing import Any

import aiohttp

from knarr.client.proxies import proxy_of


def open_session(**options: Any) -> aiohttp.ClientSession:
    """A session with aiohttp's ``options``; the caller closes it."""
    return aiohttp.ClientSession(**{**options, "trust_env": False})


def open_outside_session(url: str, **options: Any) -> aiohttp.ClientSession:
    """A session to the host of a URL outside the cluster, by the proxy that the environment names for it; the caller closes it.

    aiohttp's own look at the environment knows no ranges in NO_PROXY, and shows the passwords of ~/.netrc to whoever is asked.
    """
    return open_session(**options, proxy=proxy_of(url))
