"""``python -m services.command``: the ``knarr`` command, where it is not installed as one, as in the images of compose.yaml."""

from services.command.main import main

if __name__ == "__main__":
    main()
