"""``python -m services.standalone.keeper``: the earlier name of ``python -m services.compose.keeper``, for a compose.yaml from before."""

from __future__ import annotations

from services.compose.keeper import main

if __name__ == "__main__":
    raise SystemExit(main())
