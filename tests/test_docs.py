"""What the documents say: commands, options and links that exist, and lines of a readable length."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from pathlib import Path

import pytest
import typer
import typer.main

from slimclean.batch.report import COLUMNS
from slimclean.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def shell_commands(text: str) -> list[list[str]]:
    """The words of each call of slimclean in the blocks marked sh."""
    calls = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&", line):
                words = shlex.split(part, comments=True)
                if words and words[0] == "slimclean":
                    calls.append(words[1:])
    return calls


@pytest.mark.parametrize("words", shell_commands(README), ids=" ".join)
def test_commands_of_the_readme_exist(words):
    command = COMMANDS[words[0]]
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in words[1:]:
        if re.match(r"--?[a-z]", word):
            assert word.partition("=")[0] in known


def test_what_the_readme_compares_is_made_by_a_command_before():
    made, compared = set(), 0
    for words in shell_commands(README):
        for option, value in itertools.pairwise(words):
            if option == "--enhanced":
                compared += 1
                assert value in made
            elif option == "-o":
                made.add(value)
    assert compared >= 2


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_of_80_columns(name):
    """Its lines are shown as they stand in the docstring, with a column free on either side."""
    assert [line for line in COMMANDS[name].help.splitlines() if len(line) > 78] == []


def test_options_that_the_readme_names_exist():
    known = {n for c in COMMANDS.values() for n in c.make_parser(typer.Context(c))._long_opt}
    text = re.sub(r"```.*?```|`python .*?`", "", README, flags=re.DOTALL)
    for name in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
        assert name in known, name


def test_the_columns_of_the_report_are_those_of_the_readme():
    (listed,) = re.findall(r"`(file,\s+output,.*?)`", README, re.DOTALL)
    assert tuple(re.split(r",\s+", listed)) == COLUMNS


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


PAGES = [path for places in ("*.md", "examples/*.md", "slimclean/*/*.md") for path in sorted(ROOT.glob(places))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lines_are_readable(path):
    """But for rows of tables, which cannot be broken; the first page has none that long."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(PAGES) >= 6
    long = [line for line in lines if len(line) > 120 and (path.parent == ROOT or not line.startswith("|"))]
    assert long == []
    assert path.name != "README.md" or len(lines) <= 220


POSIX_ONLY = {"fcntl", "grp", "pty", "pwd", "resource", "termios", "SIGHUP", "SIGKILL"}


@pytest.mark.parametrize("folder", ["tests", "examples"])
def test_modules_import_on_windows(folder):
    """What POSIX alone has is named in functions that ask for it, not where a module is imported."""
    for path in (ROOT / folder).rglob("*.py"):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            early = [statement] if isinstance(statement, ast.Import | ast.ImportFrom | ast.Assign) else []
            for part in (*early, *getattr(statement, "decorator_list", ())):
                names = {getattr(node, "attr", None) or getattr(node, "name", None) for node in ast.walk(part)}
                assert not names & POSIX_ONLY, f"{path}:{part.lineno}"
