"""``python -m services.command``: the ``knarr`` command, where it is not installed as one, as in the images of compose.yaml."""

import sys


def main() -> None:
    """Loads the command and runs it. Whoever interrupts it while it loads, when nothing is begun, is shown no code of ours."""
    try:
        from services.command.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
