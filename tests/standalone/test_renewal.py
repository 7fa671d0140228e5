"""Certificates are made anew in a running cluster, before they expire."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from knarr.service import certificates
from knarr.service.certificates import covers
from knarr.service.keypair import KeptPair, KeyPair
from knarr.service.tasks import cancel
from services.standalone.credentials import RENEW_SECONDS, keep_renewed, load_or_create
from services.standalone.files import Files
from tests.support.virtual_time import virtual_time

HOSTS = ["127.0.0.1"]
URL = "https://127.0.0.1:6443"


@pytest.fixture(autouse=True)
def no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have a time of their own."""

    async def at_once(function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


@virtual_time
async def test_what_is_about_to_expire_is_renewed_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(certificates, "LEAF_LIFETIME", timedelta(days=29))
        first = load_or_create(files, HOSTS)
    shown = KeptPair(files.pki / "server.crt", files.pki / "server.key")
    keeping = asyncio.create_task(keep_renewed(files, HOSTS, URL), name="certificates")
    await asyncio.sleep(RENEW_SECONDS - 1)
    assert shown.latest() == first.server
    await asyncio.sleep(2)
    renewed = shown.latest()
    assert renewed == KeyPair.load(files.pki, "server") != first.server and covers(renewed.certificate, HOSTS)
    kubeconfig = json.loads(files.kubeconfig.read_bytes())
    assert base64.b64decode(kubeconfig["users"][0]["user"]["client-certificate-data"]) == (files.pki / "admin.crt").read_bytes()
    assert kubeconfig["clusters"][0]["cluster"]["server"] == URL
    assert load_or_create(files, HOSTS).admin_token == first.admin_token
    await cancel([keeping])


@virtual_time
async def test_what_fails_is_told_and_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = Files(tmp_path)
    load_or_create(files, HOSTS)
    key = (files.pki / "ca.key").read_bytes()
    (files.pki / "ca.key").write_bytes(b"")
    keeping = asyncio.create_task(keep_renewed(files, HOSTS, URL), name="certificates")
    with caplog.at_level(logging.ERROR):
        await asyncio.sleep(RENEW_SECONDS + 1)
    assert "could not be renewed" in caplog.text and not files.kubeconfig.exists()
    (files.pki / "ca.key").write_bytes(key)
    await asyncio.sleep(RENEW_SECONDS + 1)
    assert files.kubeconfig.exists()
    await cancel([keeping])
