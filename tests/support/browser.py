"""Debian's chromium, driven by Playwright."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest


@asynccontextmanager
async def chromium(**options: Any) -> AsyncIterator[Any]:
    """A browser, by these options of Playwright's ``launch`` besides; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.async_api", reason="scripts/install.sh --tests brings what drives a browser")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium: scripts/install.sh --tests brings it")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"], **options)
        yield browser
        await browser.close()
