"""Whom calls to AWS trust."""

from __future__ import annotations

import pytest

from services.cloud.providers.aws.api import authorities


@pytest.mark.parametrize(
    ("environment", "file"),
    [
        ({}, None),
        ({"SSL_CERT_FILE": "/a.pem"}, "/a.pem"),
        ({"SSL_CERT_FILE": "/a.pem", "AWS_CA_BUNDLE": "/b.pem"}, None),
        ({"SSL_CERT_FILE": "/a.pem", "REQUESTS_CA_BUNDLE": "/b.pem"}, None),
        ({"SSL_CERT_FILE": ""}, None),
    ],
)
def test_the_environments_authorities(environment: dict[str, str], file: str | None) -> None:
    assert authorities(environment) == file
