"""Every document: its links lead somewhere, its commands, options, targets, services and settings exist."""

import itertools
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from breakwater_cli.app import app

ROOT = Path(__file__).parents[1]
LISTED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
DOCUMENTS = [ROOT / name for name in LISTED if name.endswith(".md")]
TEXTS = {file: file.read_text(encoding="utf-8") for file in DOCUMENTS}
COMMANDS: Any = typer.main.get_command(app)
BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", flags=re.DOTALL | re.MULTILINE)
PREFIXES = "BREAKWATER|BUS_SETUP|EXECUTOR|MARKET_DATA|NOTIFIER|PAPER_EXCHANGE|REPORTER|SIGNAL"
EARLIER = {"EXECUTOR_REQUEST_BUDGET", "EXECUTOR_EXPECTED_ADDRESSES"}
"""Settings that the changelog says are gone."""

every_document = pytest.mark.parametrize("file", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))


def prose(text: str) -> str:
    return BLOCK.sub("", text)


def anchors(file: Path) -> set[str]:
    """Return the anchors that a Markdown file's headings get."""
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"^#+ +(.*)$", prose(file.read_text(encoding="utf-8")), flags=re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def code_of(text: str) -> list[str]:
    """Return the lines of commands, and what stands in backticks within the prose."""
    blocks = "\n".join(code.replace("\\\n", " ") for kind, code in BLOCK.findall(text) if kind == "bash")
    return blocks.splitlines() + re.findall(r"`([^`\n]+)`", prose(text))


def simple_commands(text: str) -> Iterator[list[str]]:
    """Return the words of each command."""
    for line in code_of(text):
        line = re.sub(r"(^|\s)#.*", "", line)
        for part in re.split(r"&&|[;|](?![^']*'[^']*$)", line):
            try:
                words = shlex.split(part)
            except ValueError:  # a piece of another language
                continue
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                del words[0]
            if words:
                yield words


def of_compose(words: list[str]) -> tuple[str, list[str]] | None:
    """Return the service that a compose command names, and the words after it; None if it names none."""
    if words[:2] != ["docker", "compose"]:
        return None
    verbs = [place for place, word in enumerate(words) if word in ("run", "exec", "logs", "port", "kill")]
    rest = words[verbs[0] + 1 :] if verbs else []
    while rest and rest[0].startswith("-"):
        rest = rest[2:] if rest[0] in ("--entrypoint", "-s") else rest[1:]
    return (rest[0], rest[1:]) if rest else None


def of_the_command_line(words: list[str]) -> list[str] | None:
    """Return the arguments of the `breakwater` command within a command; None if it is not called."""
    service, arguments = of_compose(words) or ("", [])
    if service == "cli" and "--entrypoint" not in words:
        return arguments
    if words[0] == "kubectl" and "--" in words:
        words = words[words.index("--") + 1 :]
    elif words[:2] == ["uv", "run"]:
        words = words[2:]
    return words[1:] if words[0].rpartition("/")[2] == "breakwater" else None


@every_document
def test_links_lead_somewhere(file: Path) -> None:
    text = re.sub(r"`[^`\n]*`", "", prose(TEXTS[file]))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@every_document
def test_commands_and_options_of_breakwater_exist(file: Path) -> None:
    for words in simple_commands(TEXTS[file]):
        arguments = of_the_command_line(words)
        if not arguments:
            continue
        command = COMMANDS
        while arguments and arguments[0] in getattr(command, "commands", {}):
            command = command.commands[arguments.pop(0)]
        assert command is not COMMANDS or arguments == ["--help"], words
        options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)} | {"--help"}
        given = {word.partition("=")[0] for word in arguments if re.match(r"--?[a-z]", word)}
        assert given <= options, words


@every_document
def test_targets_of_make_exist(file: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for words in simple_commands(TEXTS[file]):
        if words[0] == "make":
            assert {word for word in words[1:] if re.fullmatch("[a-z-]+", word)} <= targets, words


@every_document
def test_services_of_compose_exist(file: Path) -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    profiles = {name for service in compose["services"].values() for name in service.get("profiles", [])} | {"*"}
    for words in simple_commands(TEXTS[file]):
        if words[:2] == ["docker", "compose"]:
            options = dict(itertools.pairwise(words))
            assert options.get("--profile", "*") in profiles, words
            assert options.get("--scale", "executor=1").partition("=")[0] in compose["services"], words
            service, _ = of_compose(words) or ("executor", [])
            assert service in compose["services"], words


@every_document
def test_settings_exist(file: Path) -> None:
    for name in set(re.findall(rf"\b(?:{PREFIXES})_[A-Z0-9_]*[A-Z0-9]\b", TEXTS[file])) - EARLIER:
        assert name in SOURCES or field_of(name) in FIELDS, name


def field_of(name: str) -> str:
    """Return the field of a setting; every secret `X` may be given as `X_FILE` and `X_FROM` besides."""
    field = re.sub(rf"^(?:{PREFIXES})_", "", name).lower()
    return field if field in FIELDS else re.sub(r"_(?:file|from)$", "", field)


SOURCES = "\n".join(
    (ROOT / name).read_text(encoding="utf-8")
    for name in LISTED
    if name.endswith((".py", ".yml", ".env", ".yaml", ".conf", "Dockerfile", ".tpl")) and "/tests/" not in f"/{name}"
)
FIELDS = set(re.findall(r"^    (\w+): ", SOURCES, flags=re.MULTILINE))
