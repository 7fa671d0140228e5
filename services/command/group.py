"""How the commands stand together: a line each in a list, in the order in which they are written."""

from __future__ import annotations

import click


class Command(click.Command):
    """A command whose line in the list of commands is the whole first line of its help."""

    def get_short_help_str(self, limit: int = 0) -> str:
        return (self.help or "").partition("\n")[0]


class Commands(click.Group):
    """The commands in the order in which they are written; an unknown one is answered by their list."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args[0] not in self.commands and not args[0].startswith("-"):
            ctx.fail(f"invalid choice: {args[0]!r} (choose from {', '.join(self.commands)})")
        return super().resolve_command(ctx, args)
