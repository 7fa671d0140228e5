"""Ready answers: to a question that came before, the answer is put together from bytes.

The table has two levels: the question's name in lower case, then all else of the query that an answer depends on: flags, counts,
type, class and EDNS. The answer repeats the id and the name as the client wrote it; names in the rest of it point to that name,
which has the same length in any spelling. A change of a name's records drops the name; nothing else needs to be remembered of
what depends on what: answers that depend on names of other Services (aliases) are not kept.
"""

from __future__ import annotations

from collections.abc import Iterable

HEADER_BYTES = 12
OPT_BYTES = 11
TYPE_AND_CLASS_BYTES = 4
MAX_NAMES = 65_536
# Ways to ask for one name, of which clients have a handful: what they take over UDP is a number of 16 bits.
MAX_FORMS = 64
# Of an answer with several records, the orders that are given in turn.
MAX_ORDERS = 8

# An answer's header after the id, and what follows the question's name, in each order of its records.
_Parts = tuple[bytes, tuple[bytes, ...]]


class ReadyAnswers:
    """Answers that are ready to be sent, of one transport: over UDP and TCP answers differ in length."""

    def __init__(self) -> None:
        self._names: dict[bytes, dict[bytes, _Parts]] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._names)

    def find(self, query: bytes) -> bytes | None:
        """The answer to a query, or None. The query may be anything."""
        end = query.find(0, HEADER_BYTES) + 1
        found = self._names.get(query[HEADER_BYTES:end].lower())
        if found is None:
            return None
        parts = found.get(query[2:HEADER_BYTES] + query[end:])
        if parts is None:
            return None
        head, tails = parts
        if len(tails) == 1:
            return query[:2] + head + query[HEADER_BYTES:end] + tails[0]
        self._turn += 1
        return query[:2] + head + query[HEADER_BYTES:end] + tails[self._turn % len(tails)]

    def keep(self, query: bytes, name: str, answers: Iterable[bytes]) -> bool:
        """Remembers what was answered to a query for ``name``: the same in one or several orders. Answers whether it is kept."""
        end = query.find(0, HEADER_BYTES) + 1
        key = query[HEADER_BYTES:end].lower()
        rest = query[2:HEADER_BYTES] + query[end:]
        # Options of EDNS such as cookies differ each time: nobody would ask just so again.
        if key != key_of(name) or len(query) - end not in (TYPE_AND_CLASS_BYTES, TYPE_AND_CLASS_BYTES + OPT_BYTES):
            return False
        if len(self._names) >= MAX_NAMES:
            self._names.clear()
        forms = self._names.setdefault(key, {})
        if len(forms) >= MAX_FORMS:
            forms.clear()
        orders = tuple(answers)[:MAX_ORDERS]
        forms[rest] = (
            orders[0][2:HEADER_BYTES],
            tuple(answer[end:] for answer in orders),
        )
        return True

    def forget(self, name: str) -> None:
        """Drops the answers to one name."""
        self._names.pop(key_of(name), None)

    def forget_below(self, name: str) -> None:
        """Drops the answers to one name and to all below it; looks at every name."""
        end = key_of(name)
        for found in [found for found in self._names if found.endswith(end)]:
            del self._names[found]


def key_of(name: str) -> bytes:
    """A lower-case name as the table has it: labels with their lengths."""
    return b"".join(bytes((len(label),)) + label.encode() for label in name.split(".") if label) + b"\0"
