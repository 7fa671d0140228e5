"""Tokens of components. None are made any more: components know one another by certificates. Those that a version before has made
stay good, so that machines can be brought to certificates one after the other, until they are taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from knarr.service.authentication import TokenTable, User, hash_token, kept_token
from knarr.service.files import PRIVATE, write_whole
from services.standalone.credentials import ADMIN, APISERVER, kubelet_tokens

TOKEN, TABLE = "token", "tokens.csv"
APISERVER_FOLDER = "apiserver"


def earlier(kept: Path, folders: Sequence[str]) -> dict[str, str]:
    """The tokens that there are, by the folders of components."""
    return {folder: kept_token(path) for folder in folders if (path := _kept(kept, folder)).exists()}


def hand_out(root: Path, tokens: Mapping[str, str], users: Mapping[str, User], nodes: Mapping[str, str], admin_token: str) -> None:
    """Gives components their tokens, and the table of those who may call them; ``users`` and ``nodes`` (of kubelets) are by folder. The
    API server's table has the administrator and whoever has a token."""
    everyone = {hash_token(admin_token): ADMIN, **{hash_token(token): users[folder] for folder, token in tokens.items()}}
    TokenTable(everyone).save(root / APISERVER_FOLDER / TABLE)
    for folder, token in tokens.items():
        write_whole(root / folder / TOKEN, f"{token}\n".encode(), mode=PRIVATE)
        if folder == APISERVER_FOLDER:
            continue
        known = tokens.get(APISERVER_FOLDER, "")
        callers = {hash_token(admin_token): ADMIN, **({hash_token(known): APISERVER} if known else {})}
        table = kubelet_tokens(admin_token, known, nodes[folder]) if folder in nodes else TokenTable(callers)
        table.save(root / folder / TABLE)


def take_back(root: Path, kept: Path, folders: Sequence[str]) -> None:
    """Lets nobody be known by them any more."""
    for folder in folders:
        _kept(kept, folder).unlink(missing_ok=True)
        (root / folder / TOKEN).unlink(missing_ok=True)
        if folder != APISERVER_FOLDER:
            (root / folder / TABLE).unlink(missing_ok=True)


def _kept(kept: Path, folder: str) -> Path:
    return kept / f"{folder.replace('/', '-')}.token"
