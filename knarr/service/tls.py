"""TLS of HTTP: the context of a connection by the files as they are when it begins."""

from __future__ import annotations

import functools
import logging
import os
import ssl
from pathlib import Path

from knarr.service.file_marks import FileMarks
from knarr.service.keypair import KeptPair, KeyPair

logger = logging.getLogger(__name__)

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not name.
NO_CHECK_TIME = ssl.VerifyFlags(0x200000)


class ServerContext:
    """What a server shows and whom it trusts by what lies in its files when a connection begins; see ``tls_context``."""

    def __init__(self, pair: KeyPair | KeptPair, client_ca: str = "") -> None:
        """Raises OSError or ssl.SSLError where ``client_ca`` is no file of certificates."""
        self._pair = pair
        self._shown = pair.latest()
        self._authorities = FileMarks([Path(client_ca)] if client_ca else [])
        self._client_ca = client_ca
        # Counts how often other authorities were taken over.
        self.generation = 0
        self._made = _context(self._shown, client_ca)

    def latest(self) -> ssl.SSLContext:
        """The context for a connection that begins now; the same object for as long as the files are the same. Files that are no good
        change nothing.

        Another authority makes another context: one forgets none that it has trusted, nor the sessions of whom that let in.
        """
        latest, has_others = self._pair.latest(), self._authorities.changed()
        if latest is not self._shown or has_others:
            self._shown = latest
            try:
                self._made = _context(latest, self._client_ca)
                self.generation += has_others
            except (OSError, ssl.SSLError) as error:
                logger.warning("cannot take over certificates that were replaced", extra={"client_ca": self._client_ca, "error": error})
        return self._made


def tls_context(certificate: str, key: str, client_ca: str = "") -> ServerContext:
    """A server's; with ``client_ca`` a client may name itself by a certificate of that CA.

    Whether such a certificate has expired is left to who asks for its user: a refusal in the handshake
    reaches the client as a connection that breaks, without a reason. Raises OSError or ssl.SSLError for files that are none.
    """
    return ServerContext(KeptPair(Path(certificate), Path(key)), client_ca)


def _context(pair: KeyPair, client_ca: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    show(context, pair.certificate, pair.key)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # All that are left are good: the client knows what its processor is quick at. Go's, which are most, prefer AES with the shorter key.
    context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(["http/1.1"])
    if client_ca:
        context.load_verify_locations(cafile=client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.verify_flags |= NO_CHECK_TIME
    return context


def client_context(ca: bytes, pair: KeyPair | None) -> ssl.SSLContext:
    """A client's that trusts ``ca`` alone, PEM, and shows ``pair`` where it has one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if pair is not None:
        show(context, pair.certificate, pair.key)
    return context


@functools.cache
def unverified_context(protocol: str = "") -> ssl.SSLContext:
    """A client's that takes whoever answers; ``protocol`` is what it offers by ALPN, if anything.

    Made once, and without the authorities that the system trusts: to read those takes a while.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocol:
        context.set_alpn_protocols([protocol])
    return context


def show(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """Has a context show a certificate and prove it by its key, both PEM. Raises ssl.SSLError for what is none."""
    # The library reads files only; those of the pair may be half replaced by now.
    with os.fdopen(os.memfd_create("pair"), "wb", buffering=0) as file:
        file.write(b"\n".join((certificate, key)))
        context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
