"""Which proxy leads to a URL, as Go's programs have it."""

from __future__ import annotations

import pytest

from knarr.client.proxies import proxy_of

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("url", "spared", "goes_by_proxy"),
    [
        ("https://hook.example.com/a", "", True),
        ("http://hook.example.com/a", "", False),
        ("https://localhost:8443", "", False),
        ("https://127.0.0.2", "", False),
        ("https://[::1]:8443", "", False),
        ("https://a.localhost", "", False),
        ("https://hook.example.com", "*", False),
        ("https://hook.example.com", "example.com", False),
        ("https://example.com", "example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://HOOK.Example.com", ".example.com", False),
        ("https://hook.example.com.", "example.com", False),
        ("https://hook.example.com", "*.example.com", False),
        ("https://badexample.com", "example.com", True),
        ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://11.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", False),
        ("https://10.1.2.3:8443", "10.1.2.3:8443", False),
        ("https://10.1.2.3:8443", "10.1.2.3:443", True),
        ("https://10.1.2.3", "10.1.2.3:443", False),
        ("https://[fd00::1]", "fd00::/8", False),
        ("https://[fd00::1]:1", "[fd00::1]:1", False),
        ("https://10.1.2.3", "1.2.3", True),
        ("https://hook.example.com", " a , ,10.0.0.0/99, example.com:443", False),
        ("https://hook.example.com", "example.com:8443", True),
    ],
)
def test_who_is_reached_by_the_proxy(url: str, spared: str, goes_by_proxy: bool) -> None:
    for names in (("HTTPS_PROXY", "NO_PROXY"), ("https_proxy", "no_proxy")):
        found = proxy_of(url, dict(zip(names, (PROXY, spared), strict=True)))
        assert found == (PROXY if goes_by_proxy else None)


def test_a_proxy_without_a_scheme_is_one_of_http() -> None:
    assert proxy_of("http://a.example", {"HTTP_PROXY": "proxy:3128"}) == "http://proxy:3128"
    assert proxy_of("https://a.example", {"HTTP_PROXY": "proxy:3128"}) is None
    assert proxy_of("https://a.example", {}) is None
