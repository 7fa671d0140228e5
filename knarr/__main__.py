"""The ``knarr`` command, also as ``python -m knarr``."""

from services.command.main import main

if __name__ == "__main__":
    main()
