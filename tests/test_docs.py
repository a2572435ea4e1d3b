"""What the documentation shows holds: blocks run, files parse, links and commands exist."""

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import typer

from dualroute.cli import app
from dualroute.routing import read_limits

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"^\s*(?:\$ )?(?:\S*/)?dualroute\s+(.*)$")


@dataclass
class Block:
    language: str
    line: int
    text: str
    output: bool = False  # what the block before it prints


def blocks_of(page):
    """Fenced blocks of a page, in order; a text block after the word "prints" is output."""
    found, inside, before = [], None, []
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        if inside is not None:
            if line.startswith("```"):
                found.append(inside)
                inside, before = None, []
            else:
                inside.text += line + "\n"
        elif line.startswith("```"):
            told = [word for word in before if word]
            inside = Block(line[3:].strip(), number, "", output=told == ["prints"])
        else:
            before.append(line.strip())
    assert inside is None, f"{page.name}: the block of line {inside.line} has no end"
    return found


def of_pages(language):
    return [page for page in PAGES if any(b.language == language for b in blocks_of(page))]


def by_name(path):
    return path.name


@pytest.mark.parametrize("page", of_pages("python"), ids=by_name)
def test_python_blocks_run_in_order_and_print_what_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Dataclasses look their module up by name.
    module = type(sys)(f"docs_{page.stem}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    printed = ""
    for block in blocks_of(page):
        if block.language == "python":
            # Padded, so that a traceback gives the line of the page.
            code = compile("\n" * block.line + block.text, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(code, module.__dict__)
            printed = out.getvalue()
        elif block.output:
            assert printed == block.text, f"{page.name}, line {block.line}"


@pytest.mark.parametrize("page", of_pages("toml"), ids=by_name)
def test_toml_blocks_of_limits_are_limits(page, tmp_path):
    for block in blocks_of(page):
        if block.language == "toml" and "[[limit]]" in block.text:
            file = tmp_path / "limits.toml"
            file.write_text(block.text, encoding="utf-8")
            assert len(read_limits(file)) == block.text.count("[[limit]]"), block.line


def prose_of(page):
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)


def anchors_of(page):
    """Anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.strip().lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_relative_links_lead_to_a_file_and_a_heading(page):
    for target in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        assert file.is_relative_to(ROOT), target
        assert file.exists(), target
        assert not anchor or anchor in anchors_of(file), target


def test_every_page_is_in_the_index():
    listed = set(LINK.findall((ROOT / "docs" / "index.md").read_text("utf-8")))
    assert {page.name for page in PAGES[1:]} - {"index.md"} <= listed


def commands_of(page):
    """Every command line shown in a block, fenced or indented, as words."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    inside, found = None, []
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line[3:].strip() if inside is None else None
        elif inside in ("sh", "text") or (inside is None and line.startswith("    ")):
            command = COMMAND.match(line)
            if command is not None:
                found.append(shlex.split(command[1], comments=True))
    return found


COMMANDS = [
    pytest.param(words, id=f"{page.stem}: {' '.join(words)}")
    for page in PAGES
    for words in commands_of(page)
]


def command_of(words):
    """The command that words call, its name, and its arguments; some are in a group."""
    command, name = typer.main.get_command(app), ""
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    return command, name, words


@pytest.mark.parametrize("words", COMMANDS)
def test_command_lines_parse(words):
    command, name, arguments = command_of(words)
    with command.make_context(name, arguments) as context:  # parses, and does not run
        assert context.args == []


def test_command_lines_are_shown():
    assert {param.values[0][0] for param in COMMANDS} == {
        "demo",
        "solve",
        "route",
        "verify",
        "compare",
        "evaluate",
        "export",
        "plan",
        "frontier",
        "sensitivity",
        "simulate",
        "bench",
        "list",
    }


def test_flags_named_in_prose_exist():
    page = ROOT / "docs" / "command-line.md"
    commands = list(typer.main.get_command(app).commands.values())
    commands += [sub for group in commands for sub in getattr(group, "commands", {}).values()]
    known = {flag for command in commands for option in command.params for flag in option.opts}
    named = set(re.findall(r"`(--[a-z-]+)", page.read_text("utf-8")))
    flags = {flag for flag in known if flag.startswith("--")}
    assert named - {"--help"} == flags


@pytest.mark.parametrize("example", EXAMPLES, ids=by_name)
def test_examples_run(example, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "DUALROUTE_DATA"}
    done = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if "DUALROUTE_DATA" in example.read_text("utf-8"):  # its tables are not part of the repository
        assert done.returncode == 1
        assert "DUALROUTE_DATA" in done.stderr
    elif find_spec("litellm") is None and "litellm" in example.name:  # runs in test_gateway.py
        assert done.returncode == 1
        assert "pip install litellm" in done.stderr
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout
