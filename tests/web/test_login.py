"""Who may come in, and what a page elsewhere can make a browser do here: nothing."""

from __future__ import annotations

import aiohttp
import pytest

from services.web.guard import LOOPBACK, OWN_HEADER, Guard
from services.web.server import PageServer
from services.web.sessions import CODE_SECONDS, MOST_CODES, MOST_SESSIONS, Sessions
from tests.support.set_clock import SetClock
from tests.web.conftest import Browser

DATA = "/cluster/api/v1/namespaces"


async def test_a_link_is_good_once(page: PageServer, browser: Browser, stranger: Browser) -> None:
    status, namespaces = await browser.ask(DATA)
    assert status == 200 and {one["metadata"]["name"] for one in namespaces["items"]} >= {"default", "kube-system"}
    link = page.link
    async with aiohttp.ClientSession() as first, aiohttp.ClientSession() as second:
        async with first.get(link, allow_redirects=False) as answer:
            cookie = answer.headers["Set-Cookie"]
            assert answer.status == 303 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        async with second.get(link, allow_redirects=False) as answer:
            assert answer.status == 303 and "Set-Cookie" not in answer.headers


async def test_a_stranger_gets_the_page_and_no_data(stranger: Browser) -> None:
    status, text = await stranger.ask("/")
    assert status == 200 and "/bundle/page.js" in text
    for path in (DATA, "/live", "/parts"):
        status, answer = await stranger.ask(path)
        assert status == 401 and "knarr ui" in answer["message"]


async def test_a_session_ends(browser: Browser) -> None:
    assert (await browser.ask("/logout", "POST"))[0] == 204
    assert (await browser.ask(DATA))[0] == 401


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "evil.example"}, 421),
        ("GET", {"Host": "127.0.0.1:1"}, 421),
        ("GET", {"Sec_Fetch_Site": "same-site"}, 403),
        ("GET", {"Sec_Fetch_Dest": "script"}, 403),
        ("GET", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", {"Origin": "http://evil.example"}, 403),
        ("POST", {OWN_HEADER.replace("-", "_"): "0"}, 403),
    ],
)
async def test_what_others_make_a_browser_send_is_refused(browser: Browser, method: str, headers: dict[str, str], status: int) -> None:
    refused, answer = await browser.ask(DATA, method, None, **headers)
    assert refused == status and answer["message"]


async def test_what_changes_something_must_say_whence_it_comes(page: PageServer, browser: Browser) -> None:
    async with browser.session.post(browser.origin + DATA, headers={OWN_HEADER: "1"}, json={}) as answer:
        assert answer.status == 403 and "Origin" in (await answer.json())["message"]


async def test_every_answer_forbids_what_is_not_the_pages_own(browser: Browser) -> None:
    for path in ("/", "/bundle/page.js", DATA, "/nothing", "/parts"):
        async with browser.session.get(browser.origin + path) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_codes_and_sessions_are_bounded_and_codes_grow_old() -> None:
    clock = SetClock()
    sessions = Sessions(clock)
    old, *_ = [sessions.new_code() for _ in range(MOST_CODES + 1)]
    assert sessions.open(old) is None
    late = sessions.new_code()
    clock.move(CODE_SECONDS + 1)
    assert sessions.open(late) is None
    opened = [sessions.open(sessions.new_code()) for _ in range(MOST_SESSIONS + 1)]
    assert [sessions.knows(str(one)) for one in (opened[0], opened[1], opened[-1])] == [False, True, True]


def test_both_names_of_loopback_are_served() -> None:
    guard = Guard(lambda session: None, "", LOOPBACK)
    guard.port = 8000
    for host in ("127.0.0.1:8000", "localhost:8000"):
        assert guard.refusal("GET", "/", {"Host": host}, "") is None
