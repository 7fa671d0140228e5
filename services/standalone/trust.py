"""``python -m services.standalone.trust``: the earlier name of ``python -m services.compose.trust``, for whoever has it written down."""

from __future__ import annotations

from services.compose.trust import main

if __name__ == "__main__":
    raise SystemExit(main())
