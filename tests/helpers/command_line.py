"""All of tiem's commands, as the command line has them."""

from collections.abc import Iterator
from typing import Any

import typer.main

from tiemcli.cli import app


def commands(group: Any, name: str = "tiem") -> Iterator[tuple[str, Any]]:
    """Those of a group, by what is typed for them."""
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


COMMANDS = dict(commands(typer.main.get_command(app)))
