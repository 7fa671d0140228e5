"""The key by which a cluster signs the tokens of its service accounts, as a file. It is made once, and never made anew."""

from __future__ import annotations

from pathlib import Path

from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole

# The names in a folder of `--trust`: what signs, and public keys, one behind the other, whose tokens are good besides.
SIGNING_KEY, FURTHER_KEYS = "service-accounts.key", "service-accounts.pub"


def keep_signing_key(folder: Path) -> bytes:
    """The private key in ``folder``, PEM; made where there is none.

    Raises CommandError for a file that holds no key: a new one in its place would make every token worthless that pods have.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = folder / SIGNING_KEY
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        write_whole(path, pem, mode=PRIVATE)
    pem = path.read_bytes()
    try:
        serialization.load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        words = (
            "bring it back from a copy, or remove it: then a new one is made, and the tokens that pods have are void until they are renewed"
        )
        raise CommandError(f"{path} holds no private key in PEM; {words}") from None
    return pem
