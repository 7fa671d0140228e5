"""Playing somebody else: what a request says about whom, what it takes to be permitted that, and the user that comes of it. Pure.

As Kubernetes specifies it (`Impersonate-User`, `-Group`, `-Uid`, `-Extra-KEY`), but that what could be read in two ways is refused:
a name or a uid that is given twice or empty. Who plays somebody is kept beside whom he plays (``User.impersonator``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from knarr.machinery import validation
from knarr.machinery.errors import StatusError, bad_request
from knarr.service.authentication import AUTHENTICATED, IMPERSONATE_PREFIX, UNAUTHENTICATED, User
from services.apiserver.authorization import imagined
from services.apiserver.results import Ref
from services.apiserver.tokens.claims import ACCOUNT_PREFIX, ACCOUNTS_GROUP

VERB = "impersonate"
USER, GROUP, UID, EXTRA = (f"{IMPERSONATE_PREFIX}{word}" for word in ("user", "group", "uid", "extra"))
_EXTRA_PREFIX, _BINARY = f"{EXTRA}-", "-bin"
# Of groups and extra values together: each is asked about by itself. And of letters of all that is said.
MAX_WORDS, MAX_LETTERS = 256, 64 * 1024
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")

GROUP_OF_IDENTITIES = "authentication.k8s.io"
USERS, GROUPS, ACCOUNTS = (imagined("", plural) for plural in ("users", "groups", "serviceaccounts"))
UIDS, EXTRAS = (imagined(GROUP_OF_IDENTITIES, plural) for plural in ("uids", "userextras"))


@dataclass(frozen=True, slots=True)
class Impersonation:
    """Whom somebody wants to play. ``groups`` are those that were named; ``extra`` has keys in the order of their coming."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[bytes, bytes]]) -> Impersonation:
        """From the headers of a request, their names in lower-case letters; others than these are passed over. Raises BadRequest."""
        prefix = IMPERSONATE_PREFIX.encode()
        said = [(name.decode("latin-1"), value) for name, value in headers if name.startswith(prefix)]
        return cls._of((name, _text(name, value)) for name, value in said)

    @classmethod
    def of_metadata(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Impersonation:
        """From the metadata of an RPC, which has the same keys; with ``-bin`` behind them where a value is no ASCII.

        No key may hold the signs that most keys of extra values have: ``impersonate-extra: KEY=VALUE`` says the same. Raises BadRequest.
        """
        return cls._of(_said(metadata))

    @classmethod
    def _of(cls, said: Iterable[tuple[str, str]]) -> Impersonation:
        single: dict[str, str] = {}
        groups: list[str] = []
        extra: dict[str, list[str]] = {}
        words = letters = 0
        for name, value in said:
            words, letters = words + 1, letters + len(name) + len(value)
            if words > MAX_WORDS or letters > MAX_LETTERS:
                raise bad_request(f"a request may name {MAX_WORDS} things to impersonate at most, with {MAX_LETTERS} letters")
            if name in (USER, UID):
                if name in single or not value:
                    raise bad_request(f"{_shown(name)} is {'given more than once' if name in single else 'empty'}")
                single[name] = value
            elif name == GROUP:
                groups.append(value)
            elif name.startswith(_EXTRA_PREFIX) and len(name) > len(_EXTRA_PREFIX):
                extra.setdefault(_key(name[len(_EXTRA_PREFIX) :]), []).append(value)
            else:
                raise bad_request(f"{_shown(name)} is not known, and leaving it out could do harm")
        if USER not in single:
            raise bad_request(f"a group, a uid or extra values are to be impersonated without a user: {_shown(USER)} is missing")
        return cls(single[USER], single.get(UID, ""), tuple(groups), tuple((key, tuple(values)) for key, values in extra.items()))

    @property
    def account(self) -> tuple[str, str] | None:
        """Namespace and name of the service account that is meant; None for everybody else."""
        if not self.name.startswith(ACCOUNT_PREFIX):
            return None
        namespace, colon, name = self.name.removeprefix(ACCOUNT_PREFIX).partition(":")
        if not colon or [*validation.dns1123_label(namespace), *validation.dns1123_subdomain(name)]:
            return None
        return namespace, name

    def refs(self) -> Iterator[Ref]:
        """All that must be permitted to who wants it, by the verb ``impersonate``; the user comes first."""
        account = self.account
        yield Ref(USERS, "", self.name) if account is None else Ref(ACCOUNTS, *account)
        for group in self.groups:
            yield Ref(GROUPS, "", group)
        for key, values in self.extra:
            for value in values:
                yield Ref(EXTRAS, "", value, key)
        if self.uid:
            yield Ref(UIDS, "", self.uid)

    def user(self, impersonator: User) -> User:
        """Whom the request is from now on, once all is permitted. An account that is given no groups is in those of its namespace."""
        groups = self.groups
        if not groups and (account := self.account) is not None:
            groups = (ACCOUNTS_GROUP, f"{ACCOUNTS_GROUP}:{account[0]}")
        if AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
            groups = (*groups, UNAUTHENTICATED if self.name == User.ANONYMOUS.name else AUTHENTICATED)
        return User(self.name, self.uid, groups, self.extra, impersonator)


def _said(metadata: Iterable[tuple[str, str | bytes]]) -> Iterator[tuple[str, str]]:
    for key, value in metadata:
        if not key.startswith(IMPERSONATE_PREFIX):
            continue
        text = _text(key, value) if isinstance(value, bytes) else value
        name = key.removesuffix(_BINARY) if isinstance(value, bytes) else key
        if name == EXTRA:
            key, equals, text = text.partition("=")
            if not equals or not key:
                raise bad_request(f"{EXTRA} is no KEY=VALUE")
            name = f"{_EXTRA_PREFIX}{key.lower()}"
        yield name, text


def _key(written: str) -> str:
    """The key of extra values, of which what may not stand in a header's name is written as in a URL; one that is written wrongly is
    taken as it is."""
    if "%" not in written or _BROKEN_ESCAPE.search(written):
        return written
    try:
        return unquote(written, errors="strict")
    except UnicodeDecodeError:
        return written


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise _no_text(name) from None


def _no_text(name: str) -> StatusError:
    return bad_request(f"{_shown(name)} is no text in UTF-8")


def _shown(name: str) -> str:
    """As headers are usually written."""
    return "-".join(part.capitalize() for part in name[:64].split("-"))
