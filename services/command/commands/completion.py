"""``knarr completion``."""

from __future__ import annotations

import click

from services.command.group import Command
from services.command.output import deliver

# The variable by which a shell asks for what may come next.
COMPLETE = "_KNARR_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """print what makes a shell complete this command

    \b
    bash:  source <(knarr completion bash)
    zsh:   source <(knarr completion zsh)
    fish:  knarr completion fish | source
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    deliver(made(context.find_root().command, {}, "knarr", COMPLETE).source())
    return 0
