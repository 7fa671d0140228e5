"""Which cipher a connection has is the client's choice among those that are good."""

from __future__ import annotations

import ssl

import pytest

from services.apiserver.rest.server import RestServer
from tests.apiserver.rest.conftest import Certificates
from tests.apiserver.rest.http_client import HttpClient

SHORT, LONG = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize("wanted", [(SHORT, LONG), (LONG, SHORT)])
async def test_the_client_knows_what_its_processor_is_quick_at(
    server: RestServer, certificates: Certificates, wanted: tuple[str, str]
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca))
    # The order of those of TLS 1.3 is out of Python's reach.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(":".join(wanted))
    async with HttpClient(server.port, context) as client:
        assert client.streams[1].get_extra_info("cipher")[0] == wanted[0]
        assert (await client.get("/version")).status == 200
