"""How the command reaches the components of a cluster that runs."""

from __future__ import annotations

from knarr.service.errors import CommandError
from services.standalone.files import Files


def reached(files: Files, component: str) -> tuple[str, str, bytes]:
    """Where a component is, and what is shown to it and by it: an address, a token, an authority. CommandError where no cluster runs."""
    try:
        address = str(files.read_state()["components"][component])
        return address, files.admin_token.read_text().strip(), (files.pki / "ca.crt").read_bytes()
    except FileNotFoundError:
        raise CommandError(f"no cluster runs from {files.root}; start it first: `knarr up`") from None
