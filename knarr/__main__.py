"""The ``knarr`` command, also as ``python -m knarr``."""

from services.command.__main__ import main

if __name__ == "__main__":
    main()
