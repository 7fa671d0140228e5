"""Users, and the table of bearer tokens by which a caller is recognized as one of them.

A token file has one line per user: ``sha256-of-token,name,uid,"group1,group2"``. Only hashes are
kept, so a node that can check callers cannot pose as one of them.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import logging
import re
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from knarr.machinery.errors import StatusError, forbidden, status_error
from knarr.service.files import PRIVATE, write_whole

log = logging.getLogger(__name__)

# A token that is kept in a file. One that is shorter was not written whole, and could be guessed.
_WHOLE = re.compile(r"[\x21-\x7e]{32,1024}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    # What else is known of him, by keys like `authentication.kubernetes.io/pod-name`.
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    # Who plays this one, where somebody does: that is written down, and decides nothing.
    impersonator: User | None = field(default=None, compare=False)
    # Within which limits he does: the impersonator needs `impersonate-on:CONSTRAINT:VERB` for each request. Empty: within none.
    constraint: str = field(default="", compare=False)

    ANONYMOUS: ClassVar[User]


AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"
User.ANONYMOUS = User("system:anonymous", groups=(UNAUTHENTICATED,))

# Who may do everything; and as whom the API server speaks to kubelets.
MASTERS, KUBELET_CLIENT = "system:masters", "kube-apiserver-kubelet-client"
NODES, NODE_PREFIX = "system:nodes", "system:node:"
# What every header begins with, and every key of metadata, that says whom a caller wants to play.
IMPERSONATE_PREFIX = "impersonate-"
# Answers the user whom a caller plays by the metadata of his RPC; raises StatusError where it is not to be.
Impersonate = Callable[[User, Iterable[tuple[str, str | bytes]]], Awaitable[User]]


async def as_nobody_else(user: User, metadata: Iterable[tuple[str, str | bytes]]) -> User:
    """Of a server that asks nobody who may play whom. Raises Forbidden."""
    raise forbidden("users", "", "this server plays nobody else, and acting as yourself instead could do harm")


def node_of(user: User) -> str | None:
    """The node whose kubelet this is; empty where it is one that does not say of which, None where it is somebody else."""
    if NODES not in user.groups or not user.name.startswith(NODE_PREFIX):
        return None
    return user.name[len(NODE_PREFIX) :]


_current_user: ContextVar[User] = ContextVar("knarr_user", default=User.ANONYMOUS)


def current_user() -> User:
    """The caller of the RPC that is being served."""
    return _current_user.get()


def set_current_user(user: User) -> None:
    """Names the caller for the rest of this task's context."""
    _current_user.set(user)


def hash_token(token: str) -> str:
    """The form in which a token file keeps a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def bound_token(token: str, node: str) -> str:
    """What the owner of ``token`` shows to the kubelet of a node: it is good there alone, and does not tell the token."""
    return hmac.new(token.encode(), f"kubelet of {node}".encode(), hashlib.sha256).hexdigest()


# What an empty token would be known by.
_NOTHING = hash_token("")


def kept_token(path: Path) -> str:
    """The bearer token in a file of its owner's; made when the file is missing or holds no whole token."""
    text = path.read_text(errors="replace").strip() if path.exists() else ""
    if not _WHOLE.fullmatch(text):
        if path.exists():
            log.warning("a file held no whole token; a new one was made", extra={"path": str(path)})
        text = secrets.token_urlsafe(32)
        write_whole(path, f"{text}\n".encode(), mode=PRIVATE)
    return text


class TokenAuthenticator(Protocol):
    """Who knows callers by what they show."""

    def authenticate(self, authorization: str) -> User | Coroutine[Any, Any, User]:
        """The user of an ``Authorization`` header's value; raises Unauthorized. Whoever must look elsewhere first answers a coroutine:
        most know at once, on every request."""
        ...


def bearer_token(authorization: str) -> str:
    """The token of an ``Authorization`` header's value; empty where it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class TokenTable:
    """Bearer tokens of one cluster, read once. Nothing is never a token, whatever the table says."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = {token_hash: user for token_hash, user in users.items() if token_hash != _NOTHING}

    @classmethod
    def load(cls, path: Path) -> TokenTable:
        """Reads a token file; raises ValueError naming the line that is broken."""
        users: dict[str, User] = {}
        with path.open(newline="") as file:
            lines = csv.reader(file, strict=True)
            try:
                for row in lines:
                    if row and not row[0].startswith("#"):
                        users[row[0]] = _user(row)
            except (ValueError, csv.Error) as error:
                raise ValueError(f"{path}:{lines.line_num}: {error}") from None
        return cls(users)

    def save(self, path: Path) -> None:
        """Writes the table so that ``load`` reads it back; the file is for its owner only."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        for token_hash, user in self._users.items():
            groups = [group for group in user.groups if group != AUTHENTICATED]
            writer.writerow([token_hash, user.name, user.uid, ",".join(groups)])
        write_whole(path, text.getvalue().encode(), mode=PRIVATE)

    def authenticate(self, authorization: str) -> User:
        """The user of an ``Authorization`` header's value; raises Unauthorized."""
        token = bearer_token(authorization)
        user = self._users.get(hash_token(token)) if token else None
        if user is None:
            raise unauthorized()
        return user


def _user(row: list[str]) -> User:
    """The user of a line. Raises ValueError when it was not written whole, or names no token or nobody."""
    if len(row) < 3:
        raise ValueError(f"expected sha256,name,uid[,groups], got {len(row)} columns")
    token_hash, name, uid, *more = row
    if not _SHA256.fullmatch(token_hash):
        raise ValueError("the first column is no SHA-256 in hexadecimal")
    if token_hash == _NOTHING:
        raise ValueError("the token is empty")
    if not name:
        raise ValueError("the user has no name")
    return User(name, uid, (*(group for group in (more[0] if more else "").split(",") if group), AUTHENTICATED))


def unauthorized() -> StatusError:
    return status_error("Unauthorized", "Unauthorized")
