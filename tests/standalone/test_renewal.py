"""Certificates are made anew in a running cluster, before they expire."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from knarr.service import certificates
from knarr.service.certificates import covers
from knarr.service.keypair import KeptPair, KeyPair
from knarr.service.tasks import cancel
from services.standalone.credentials import LOOK_SECONDS, RENEW_SECONDS, keep_renewed, load_or_create, write_kubeconfig
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


YEAR = timedelta(days=365)


def move_clock(patch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Lets everything that looks at certificates see another day."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + by

    patch.setattr(certificates, "datetime", Moved)


def is_good(certificate: bytes, at: datetime) -> bool:
    found = x509.load_pem_x509_certificate(certificate)
    return found.not_valid_before_utc <= at < found.not_valid_after_utc


@pytest.mark.parametrize("years", [1, 2, 9, 30])
def test_a_cluster_that_slept_for_years_starts(years: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same authority's key, so that whoever trusts it goes on to, and the same tokens."""
    files = Files(tmp_path)
    first = load_or_create(files, HOSTS)
    write_kubeconfig(files.kubeconfig, first, URL)
    move_clock(monkeypatch, years * YEAR)
    then = datetime.now(UTC) + years * YEAR
    second = load_or_create(files, HOSTS)
    write_kubeconfig(files.kubeconfig, second, URL)
    assert all(is_good(pair, then) for pair in (second.server.certificate, second.admin.certificate, second.ca_certificate))
    assert (files.pki / "front-proxy" / "client.crt").exists()
    assert is_good((files.pki / "front-proxy" / "client.crt").read_bytes(), then)
    old, new = (x509.load_pem_x509_certificate(pem) for pem in (first.ca_certificate, second.ca_certificate))
    assert old.public_key() == new.public_key() and (old == new) is (years < 9)
    assert (second.admin_token, second.apiserver_token) == (first.admin_token, first.apiserver_token)
    # A certificate of the new authority is good for who has kept the old one, as long as that is.
    x509.load_pem_x509_certificate(second.server.certificate).verify_directly_issued_by(old)


def test_a_clock_that_was_ahead_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Files(tmp_path)
    with monkeypatch.context() as patch:
        move_clock(patch, 3 * YEAR)
        load_or_create(files, HOSTS)
    found = load_or_create(files, HOSTS)
    now = datetime.now(UTC)
    assert all(is_good(pem, now) for pem in (found.server.certificate, found.admin.certificate, found.ca_certificate))


@virtual_time
async def test_a_machine_that_awakes_renews_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own clock has stood still meanwhile, that of the day has not."""
    files = Files(tmp_path)
    load_or_create(files, HOSTS)
    keeping = asyncio.create_task(keep_renewed(files, HOSTS, URL), name="certificates")
    await asyncio.sleep(120)
    assert not files.kubeconfig.exists()
    slept = time.time() + YEAR.total_seconds()
    monkeypatch.setattr("services.standalone.credentials.time.time", lambda: slept)
    move_clock(monkeypatch, YEAR)
    await asyncio.sleep(LOOK_SECONDS + 1)
    shown = KeyPair.load(files.pki, "server").certificate
    assert files.kubeconfig.exists() and is_good(shown, datetime.now(UTC) + YEAR)
    await cancel([keeping])
