"""libnftables in this process: a change costs no new process. One transaction a call."""

from __future__ import annotations

import ctypes
import json
from typing import Any

LIBRARY = "libnftables.so.1"
OUTPUT_JSON = 1 << 4


class NftablesError(Exception):
    """The kernel or the library refused a transaction; nothing of it is in force."""


class Nftables:
    """One netlink connection to the network namespace in which it was made. Calls must not overlap."""

    def __init__(self) -> None:
        """OSError when the library is not installed."""
        library = ctypes.CDLL(LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._library = library
        self._context = ctypes.c_void_p(library.nft_ctx_new(0))
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str, *, as_json: bool = False) -> str:
        """Runs commands as one transaction and returns what they print; NftablesError when refused."""
        self._library.nft_ctx_output_set_flags(self._context, OUTPUT_JSON if as_json else 0)
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output = (self._library.nft_ctx_get_output_buffer(self._context) or b"").decode()
        error = (self._library.nft_ctx_get_error_buffer(self._context) or b"").decode()
        if failed:
            raise NftablesError(error.strip())
        return output

    def read(self, command: str) -> list[dict[str, Any]]:
        """Runs a ``list`` command; returns libnftables-json(5) objects."""
        found: list[dict[str, Any]] = json.loads(self.run(command, as_json=True))["nftables"]
        return found

    def close(self) -> None:
        """Frees the connection; safe to call twice."""
        if self._context:
            self._library.nft_ctx_free(self._context)
            self._context = ctypes.c_void_p(None)
