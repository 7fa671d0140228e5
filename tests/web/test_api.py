"""How the page asks the API server, where that says nothing."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings
from pathlib import Path

from knarr.service.certificates import CertificateAuthority
from services.web.api import Access, Api, silence


class Mute:
    """A server that hears a request by TLS, and from then on neither answers nor says farewell."""

    def __init__(self, folder: Path) -> None:
        authority = CertificateAuthority.create("nobody")
        authority.issue("127.0.0.1", hosts=["127.0.0.1"]).save(folder, "server")
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(folder / "server.crt", folder / "server.key")
        self.trust = ssl.create_default_context(cadata=authority.pair.certificate.decode())
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        self._heard, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        accepted, _ = self._listening.accept()
        with self._context.wrap_socket(accepted, server_side=True) as heard:
            heard.recv(65536)
            self._heard.set()
            self._over.wait(20)

    async def heard(self) -> None:
        assert await asyncio.to_thread(self._heard.wait, 20)

    def __enter__(self) -> Mute:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._listening.close()


async def give_up(server: Mute) -> None:
    async with Api(Access(server.url, server.trust)) as api:
        asking = asyncio.create_task(api.json("GET", "/api/v1/pods"))
        await server.heard()
        asking.cancel()
        await asyncio.wait([asking])


def test_a_request_that_is_given_up_before_its_answer_leaves_no_connection(tmp_path: Path) -> None:
    """TLS would wait half a minute for the server's farewell."""
    with Mute(tmp_path) as server, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        asyncio.run(give_up(server))
        gc.collect()
    assert not [str(found.message) for found in told]


def test_who_gave_no_answer_and_no_words_is_named_by_what_happened() -> None:
    assert silence(TimeoutError()) == "the API server does not answer: TimeoutError"
    assert silence(OSError("gone")) == "the API server does not answer: gone"
