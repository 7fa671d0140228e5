"""What a fellow is known by, and by what it knows its callers: files in its folder, made once, and anew before they expire."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from knarr.service.authentication import NODE_PREFIX, NODES, kept_token
from knarr.service.certificates import CertificateAuthority
from services.standalone.credentials import kubelet_tokens
from services.standalone.fellows.plan import Fellow
from services.standalone.files import Files

KUBELET, PROXY, PROXY_USER = "kubelet", "proxy", "system:kube-proxy"
LOOPBACK, LOCALHOST = "127.0.0.1", "localhost"


@dataclass(frozen=True, slots=True)
class FellowFiles:
    """Where they lie."""

    folder: Path

    @property
    def tokens(self) -> Path:
        """Hashes of what the callers of its kubelet show."""
        return self.folder / "tokens.csv"

    def certificate(self, part: str) -> Path:
        return self.folder / f"{part}.crt"

    def key(self, part: str) -> Path:
        return self.folder / f"{part}.key"


def keep_credentials(files: Files, fellow: Fellow) -> FellowFiles:
    """Makes what is missing or about to expire. Blocking; raises CommandError and OSError."""
    found = FellowFiles(fellow.folder / "pki")
    fellow.folder.mkdir(parents=True, exist_ok=True)
    found.folder.mkdir(mode=0o700, exist_ok=True)
    authority = CertificateAuthority.load_or_create(files.pki)
    user = f"{NODE_PREFIX}{fellow.name}"
    authority.kept_pair(found.folder, KUBELET, user, organizations=(NODES,), hosts=[fellow.name, fellow.address])
    authority.kept_pair(found.folder, PROXY, PROXY_USER, hosts=[LOOPBACK, LOCALHOST])
    kubelet_tokens(kept_token(files.admin_token), kept_token(files.pki / "apiserver.token"), fellow.name).save(found.tokens)
    return found
