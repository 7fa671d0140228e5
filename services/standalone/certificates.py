"""The certificates below a folder: whom each is for, by which authority, until when; and making them anew.

A folder is a cluster's, the one of ``services.compose.trust``, or a machine's with those of its components. Only where the key of an
authority lies below it too, what that has signed can be made anew.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.x509.oid import NameOID

from knarr.service.certificates import LEAF_RESERVE, CertificateAuthority
from knarr.service.errors import CommandError
from knarr.service.files import PRIVATE, write_whole
from knarr.service.keypair import KeyPair

# What an authority's own is called in its folder; others' folders have a copy of its certificate.
AUTHORITY = "ca"
# More are none of ours.
MOST_FILES = 4096


@dataclass(frozen=True, slots=True)
class Found:
    """One certificate. ``name`` is its path below the folder without its ending; ``authority`` is empty where it signs itself."""

    name: str
    path: Path
    certificate: x509.Certificate

    @property
    def subject(self) -> str:
        return _common_name(self.certificate.subject)

    @property
    def groups(self) -> list[str]:
        return [str(found.value) for found in self.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]

    @property
    def authority(self) -> str:
        return "" if self.signs else _common_name(self.certificate.issuer)

    @property
    def signs(self) -> bool:
        """Whether it is an authority's."""
        with suppress(x509.ExtensionNotFound):
            return bool(self.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
        return False

    @property
    def hosts(self) -> list[str]:
        """The names and addresses at which it serves."""
        with suppress(x509.ExtensionNotFound):
            return [str(name.value) for name in self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]
        return []

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def state(self, now: datetime) -> str:
        """`good`, `expiring` (it would be made anew at the next occasion), `expired`, or `not yet`."""
        if now > self.ends:
            return "expired"
        if now < self.certificate.not_valid_before_utc:
            return "not yet"
        return "expiring" if now + LEAF_RESERVE > self.ends else "good"

    def as_dict(self, now: datetime) -> dict[str, Any]:
        return {
            "name": self.name,
            "subject": self.subject,
            "groups": self.groups,
            "hosts": self.hosts,
            "authority": self.authority,
            "expires": self.ends.isoformat(),
            "state": self.state(now),
        }


def certificates(folder: Path) -> list[Found]:
    """All below a folder, by name; what is no certificate is left out. Raises CommandError where there is none."""
    found = sorted(_found(folder), key=lambda one: one.name)
    if not found:
        raise CommandError(f"there are no certificates below {folder}; `knarr up` makes those of its --data-dir")
    return found


def _found(folder: Path) -> Iterator[Found]:
    for number, path in enumerate(folder.rglob("*.crt")):
        if number >= MOST_FILES:
            raise CommandError(f"{folder} has more than {MOST_FILES} files of certificates: that is no cluster's folder")
        if path.is_symlink() or not path.is_file():
            continue
        with suppress(ValueError):
            yield Found(str(path.relative_to(folder).with_suffix("")), path, x509.load_pem_x509_certificate(path.read_bytes()))


def renew(folder: Path, names: Sequence[str] = ()) -> list[Found]:
    """Makes certificates anew, those of ``names`` or all that can be: each for whom it is, with another key, by the authority that signed
    it. Answers them as they are now. Raises CommandError, before anything is changed, for a name that cannot."""
    found = certificates(folder)
    authorities = _authorities(folder)
    due: list[tuple[Found, CertificateAuthority]] = []
    for one in found:
        signer = next((authority for authority in authorities if authority.has_issued(one.certificate)), None)
        can_be = signer is not None and not one.signs and one.path.with_suffix(".key").is_file()
        if can_be and (not names or one.name in names):
            assert signer is not None
            due.append((one, signer))
    if lacking := sorted(set(names) - {one.name for one, _ in due}):
        known = "is not there" if all(one.name != lacking[0] for one in found) else "cannot be made anew: its authority's key is not here"
        raise CommandError(f"{lacking[0]} {known}; `knarr certs list` shows what is")
    if not due:
        raise CommandError(f"no key of an authority lies below {folder}: run it where the certificates are made")
    for one, signer in due:
        signer.issue(one.subject, organizations=one.groups, hosts=one.hosts).save(one.path.parent, one.path.stem)
    made = {one.name for one, _ in due}
    return [one for one in certificates(folder) if one.name in made]


def show_in_kubeconfig(kubeconfig: Path, pair: KeyPair) -> bool:
    """Puts a pair into its owner's kubeconfig, if that is there; answers whether it is. Raises CommandError for what is none of ours."""
    if not kubeconfig.is_file():
        return False
    try:
        document = orjson.loads(kubeconfig.read_bytes())
        user = document["users"][0]["user"]
    except (ValueError, KeyError, IndexError, TypeError):
        raise CommandError(f"{kubeconfig} is no kubeconfig that Knarr has written; put the new certificate into it by hand") from None
    user["client-certificate-data"] = base64.b64encode(pair.certificate).decode()
    user["client-key-data"] = base64.b64encode(pair.key).decode()
    write_whole(kubeconfig, orjson.dumps(document, option=orjson.OPT_INDENT_2), mode=PRIVATE)
    return True


def _authorities(folder: Path) -> list[CertificateAuthority]:
    """Those whose keys lie here; one that would not outlive what it signs gets a new certificate for the same key."""
    keys = [path for path in sorted(folder.rglob(f"{AUTHORITY}.key")) if path.is_file() and not path.is_symlink()]
    return [CertificateAuthority.load_or_create(path.parent) for path in keys]


def _common_name(name: x509.Name) -> str:
    return ", ".join(str(found.value) for found in name.get_attributes_for_oid(NameOID.COMMON_NAME))
