"""What the documentation names: every command, option, method and field."""

import re
from pathlib import Path

import pytest
from command_line import COMMANDS

from tiemcli.methods import METHODS
from tiemcli.result import Result

# Made by programs; what they name nobody has explained.
GENERATED = {"benchmarks", "commands", "networks", "paper"}


@pytest.fixture(scope="module")
def pages(root: Path) -> dict[str, str]:
    """Those that somebody wrote, by name."""
    paths = [root / "README.md", *(root / "docs").glob("*.md")]
    return {p.stem: p.read_text(encoding="utf-8") for p in paths if p.stem not in GENERATED}


def test_the_readme_names_every_command(pages: dict[str, str]) -> None:
    """The first word at least, and all of `tiem bench`."""
    for command in COMMANDS:
        _, word, *part = command.split()
        assert f"tiem {word}" in pages["README"]
        assert all(name in pages["README"] for name in part)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(pages: dict[str, str], command: str) -> None:
    """On some page that people wrote."""
    everything = "\n".join(pages.values())
    for option in COMMANDS[command].params:
        long = [name for name in option.opts if name.startswith("--")]
        assert all(re.search(rf"{name}\b(?!-)", everything) for name in long), long


def test_the_page_of_commands_has_the_help_of_each(root: Path) -> None:
    """In the order of `tiem --help`."""
    page = (root / "docs/commands.md").read_text(encoding="utf-8")
    assert re.findall(r"^```{program-output} (tiem .+) --help$", page, re.MULTILINE) == [*COMMANDS]


def test_the_page_of_methods_names_each_with_what_it_needs(pages: dict[str, str]) -> None:
    """A row a method, in the registry's order."""
    rows = re.findall(r"^\| `([a-z0-9+-]+)` \| (\w+) \|", pages["methods"], re.MULTILINE)
    words = {"queries": "scores"}
    assert rows == [(name, words.get(m.needs, m.needs)) for name, m in METHODS.items()]


def test_the_page_of_results_names_every_field(pages: dict[str, str]) -> None:
    """Of the schema, however deep."""
    schema = Result.model_json_schema(by_alias=True)
    for record in (schema, *schema["$defs"].values()):
        for field in record.get("properties", ()):
            assert f"`{field}`" in pages["results"], field
