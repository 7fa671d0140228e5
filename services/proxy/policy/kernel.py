"""The policies' nftables table in the kernel: changes as netlink messages, the whole where that is not enough.

Nothing is in force in part: a change or a whole table is one transaction. What another proxy left stays in force until the first table.

Rights that the kernel refuses hold up no others: they are found among what is new, and shut. Whoever has them is let nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from time import monotonic

from services.proxy.datapath.nftables.libnftables import Nftables, NftablesError
from services.proxy.datapath.nftables.netlink import NetlinkConnection
from services.proxy.datapath.nftables.watcher import TableWatcher
from services.proxy.policy import language, messages
from services.proxy.policy.bridging import BridgeCalls
from services.proxy.policy.facts import BlockPeer
from services.proxy.policy.model import UNKNOWN, ChainEntry, Changes, Drop, Entry, Rights, Step, Value, always_there, patch, shut_off, steps

log = logging.getLogger(__name__)

# What was refused is tried again after so long, or when it changes. Each try writes the whole table.
RETRY_SECONDS = 30.0


class PolicyTable:
    """One table in the kernel. All of it in one thread, in whose network namespace the table is."""

    def __init__(self, table: str, bridge: str) -> None:
        """PermissionError without NET_ADMIN; another OSError when libnftables is missing."""
        self._name, self._bridge = table, bridge
        with contextlib.ExitStack() as opened:
            self._nft = Nftables()
            opened.callback(self._nft.close)
            self._netlink = NetlinkConnection()
            opened.callback(self._netlink.close)
            self._watcher = TableWatcher(table)
            opened.callback(self._watcher.close)
            self._calls = BridgeCalls(bridge)
            opened.callback(self._calls.close)
            # All of it is there: it stays open until ``close``.
            self._opened = opened.pop_all()
        # What is in force, or, where it is not known to be, what should be.
        self._entries: dict[Entry, Value] = always_there()
        self._programmed = False
        self._port = 0
        # What the kernel refuses of it, and why, in words: it is shut in its place.
        self.refused: dict[Entry, str] = {}
        # What has changed since the table was written or changed for the last time: among it is what a refusal is about.
        self._suspects: set[Entry] = set()
        self._retry_at = 0.0

    def fileno(self) -> int:
        """Readable when somebody changed a table."""
        return self._watcher.fileno()

    def apply(self, changes: Changes) -> bool:
        """Puts changes in force, and all else where that is not sure to be; answers whether anything was written. NftablesError or OSError
        when refused: the next call takes them, too.
        """
        if self.refused and (monotonic() >= self._retry_at or not self.refused.keys().isdisjoint(changes)):
            self._programmed = False
        if self._programmed and not changes:
            return False
        found = steps(self._entries, changes) if self._programmed else []
        patch(self._entries, changes)
        self._suspects.update(changes)
        if self._programmed and not found:
            return False
        if not self._programmed or not self._commit(found):
            self._write()
        self._suspects.clear()
        return True

    def _commit(self, found: list[Step]) -> bool:
        """Whether a change could be made as such; it cannot where it is too much at once, or others have been at the table."""
        self._programmed = False
        try:
            self._netlink.commit(messages.encode(self._name, found))
        except OSError as error:
            log.info("a change of the policies was refused; writing the whole table", extra={"error": str(error)})
            return False
        self._programmed = True
        return True

    def _write(self) -> None:
        self._programmed = False
        suspects = [entry for entry in self._suspects | self.refused.keys() if isinstance(self._entries.get(entry), Rights | BlockPeer)]
        self.refused = {}
        try:
            self._replace(())
        except NftablesError as error:
            if not suspects:
                raise
            # Refused even so: none of them is to blame, or not they alone.
            self._replace(suspects)
            self._find_guilty(suspects, [], str(error))
            self._replace(self.refused)
            self._retry_at = monotonic() + RETRY_SECONDS
        self._shut_ipv6()
        self._programmed = True

    def _find_guilty(self, suspects: list[Entry], others: list[Entry], reason: str) -> None:
        """Among ``suspects`` somebody is guilty. ``others`` may be, too, and stay shut meanwhile, as do those that were found."""
        middle = len(suspects) // 2
        if not middle:
            self.refused |= dict.fromkeys(suspects, reason)
            return
        for half, rest in ((suspects[:middle], suspects[middle:]), (suspects[middle:], [])):
            still = [*others, *rest]
            try:
                self._replace({*self.refused, *still})
            except NftablesError as error:
                self._find_guilty(half, still, str(error))

    def _replace(self, shut: Collection[Entry]) -> None:
        """Writes the whole table, with some of it shut."""
        entries = {**self._entries, **{entry: shut_off(self._entries[entry]) for entry in shut}}
        self._run(language.whole(self._name, self._bridge, entries))

    def _shut_ipv6(self) -> None:
        try:
            self._run(language.shut_ipv6(self._name, self._bridge))
        except NftablesError as error:
            # A kernel without IPv6 forwards none.
            log.info("no table for IPv6", extra={"table": self._name, "error": str(error)})

    def _run(self, commands: str) -> None:
        """Runs commands, and learns by which name the kernel tells of what libnftables does for us."""
        self._watcher.learn_port()
        self._nft.run(commands)
        self._port = self._watcher.learn_port() or self._port

    def hold(self) -> None:
        """Forwards nothing to or from pods until the first ``apply``, unless a predecessor's table is there."""
        try:
            self._nft.run(f"list chain ip {self._name} forward")
        except NftablesError:
            self._run(language.whole(self._name, self._bridge, {ChainEntry(UNKNOWN): Drop(closed=True)}))

    def notice(self) -> bool:
        """Reads the news; whether another took something from the table, which ``apply`` then writes anew."""
        taken = self._watcher.taken_by_others((self._port, self._netlink.port))
        self._programmed = self._programmed and not taken
        return taken

    def ensure_seen(self) -> str:
        """Lets packets between pods of the bridge come by; answers why they do not, in words."""
        return self._calls.ensure()

    def close(self) -> None:
        """Changes nothing on the node: what is in force stays."""
        self._opened.close()


def remove_policies(table: str) -> None:
    """Removes the table, whoever left it. Safe where there is none; OSError or NftablesError without the privilege."""
    nft = Nftables()
    try:
        nft.run(f"table ip {table} {{}}\ndelete table ip {table}\n")
        with contextlib.suppress(NftablesError):
            nft.run(f"table ip6 {table} {{}}\ndelete table ip6 {table}\n")
    finally:
        nft.close()


__all__ = ["NftablesError", "PolicyTable", "remove_policies"]
