"""The section ``external`` of the configuration file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from knarr.service.options import address


@dataclass(frozen=True, slots=True)
class ExternalSettings:
    """How the provider's process is reached. Raises ValueError, which names the field, for what cannot be."""

    # Where the provider serves gRPC, `host:port`.
    address: str
    # Certificate of the CA that has signed the provider's, PEM.
    ca_file: Path | None = None
    # A file with the bearer token that is shown to the provider; none: no token.
    token_file: Path | None = None
    # Speak without TLS and without a token, for a provider on the same machine.
    insecure: bool = False

    def __post_init__(self) -> None:
        try:
            address(self.address)
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"address: {error}") from error
        if self.insecure and (self.ca_file or self.token_file):
            raise ValueError("insecure: leave it out, or the files: without TLS there is no certificate, and no token is sent")
        if not self.insecure and self.ca_file is None:
            raise ValueError("ca_file: must name the certificate of the provider's CA; or set insecure: true to speak without TLS")
        for name, path in (("ca_file", self.ca_file), ("token_file", self.token_file)):
            if path is not None and not path.is_file():
                raise ValueError(f"{name}: there is no file {path}")
