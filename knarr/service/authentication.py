"""Users, and the table of bearer tokens by which a caller is recognized as one of them.

A token file has one line per user: ``sha256-of-token,name,uid,"group1,group2"``. Only hashes are
kept, so a node that can check callers cannot pose as one of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import secrets
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from knarr.machinery.errors import StatusError, status_error
from knarr.service.files import PRIVATE, write_whole


@dataclass(frozen=True, slots=True)
class User:
    """An authenticated caller."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()

    ANONYMOUS: ClassVar[User]


User.ANONYMOUS = User("system:anonymous", groups=("system:unauthenticated",))


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


def kept_token(path: Path) -> str:
    """The bearer token in a file of its owner's; made when the file is missing or empty."""
    text = path.read_text().strip() if path.exists() else ""
    if not text:
        text = secrets.token_urlsafe(32)
        write_whole(path, f"{text}\n".encode(), mode=PRIVATE)
    return text


class TokenTable:
    """Bearer tokens of one cluster, read once."""

    def __init__(self, users: dict[str, User]) -> None:
        self._users = users

    @classmethod
    def load(cls, path: Path) -> TokenTable:
        """Reads a token file; raises ValueError naming the line that is broken."""
        users: dict[str, User] = {}
        with path.open(newline="") as file:
            for number, row in enumerate(csv.reader(file), start=1):
                if not row or row[0].startswith("#"):
                    continue
                if len(row) < 3:
                    raise ValueError(f"{path}:{number}: expected sha256,name,uid[,groups], got {len(row)} columns")
                groups = tuple(group for group in (row[3] if len(row) > 3 else "").split(",") if group)
                users[row[0]] = User(row[1], row[2], (*groups, "system:authenticated"))
        return cls(users)

    def save(self, path: Path) -> None:
        """Writes the table so that ``load`` reads it back; the file is for its owner only."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        for token_hash, user in self._users.items():
            groups = [group for group in user.groups if group != "system:authenticated"]
            writer.writerow([token_hash, user.name, user.uid, ",".join(groups)])
        write_whole(path, text.getvalue().encode(), mode=PRIVATE)

    def authenticate(self, authorization: str) -> User:
        """The user of an ``Authorization`` header's value; raises Unauthorized."""
        scheme, _, token = authorization.partition(" ")
        user = self._users.get(hash_token(token.strip())) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user


def unauthorized() -> StatusError:
    return status_error("Unauthorized", "Unauthorized")
