"""Paste every command and block of the documentation into a fresh environment.

    python -m experiments.tools.try_docs                        all pages: an hour and more
    python -m experiments.tools.try_docs docs/start docs/howto/own_images.md
    python -m experiments.tools.try_docs --python .venv/bin/python docs/howto

The pages are read from this checkout. A copy of it, an empty virtual environment and a few images
and texts are made in a temporary folder, and the blocks of each page run there in order, beginning
with those of the installation. Training commands get --smoke, a few steps in place of hours. What a
page says about a block (`experiments.tools.pages`) is respected. Ends with status 1 if a block
fails.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from cnn_jax.errors import UserError, check_range
from experiments.tools.console import standard_console
from experiments.tools.messages import say, user_errors
from experiments.tools.pages import ROOT, Block, blocks, pages
from experiments.tools.photographs import load_photograph

FIRST = ("docs/start/install.md", "docs/start/first_run.md", "docs/start/runs.md")
"""Pages that others build on."""
SIDE = 96
"""Pixels of a side of the images that are made."""
COMMAND = re.compile(r"(?P<module>python -m experiments\.(?P<name>\w+))(?P<rest>(?:\\\n|[^\n])*)")
LINES = 15
"""Last lines of a failed block's output that are shown."""


@dataclass(frozen=True)
class Options:
    """Which pages, and where they run."""

    places: Positional[tuple[str, ...]] = ()
    """Pages, and folders of them; by default the site's and README.md."""
    python: str = ""
    """Python of an environment that is there, in which nothing is installed; by default a fresh
    one."""
    network: bool = False
    """Also run blocks that download something."""
    minutes: int = 30
    """Longest time of a block."""

    def __post_init__(self) -> None:
        check_range(self, 1, minutes=self.minutes)


@dataclass(frozen=True)
class Outcome:
    """What became of a block."""

    place: str
    result: str
    seconds: float = 0.0


def chosen(places: Sequence[str]) -> list[str]:
    """The pages of some places, those of the installation first.

    Raises:
        UserError: a place without pages.
    """
    known = pages()
    if not places:
        wanted = {page for page in known if page.startswith("docs/") or page == "README.md"}
    else:
        wanted = set()
        for place in (place.rstrip("/") for place in places):
            found = {page for page in known if page == place or page.startswith(f"{place}/")}
            if not found:
                raise UserError(f"there is no page {place}; there are {', '.join(known)}")
            wanted |= found
    return [*(page for page in FIRST if page in wanted), *sorted(wanted - set(FIRST))]


def with_smoke(text: str) -> str:
    """The commands of a block, with ``--smoke`` for those that would train for long."""

    def changed(command: re.Match[str]) -> str:
        file = ROOT / "experiments" / f"{command['name']}.py"
        trains = not file.exists() or re.search(r"^SMOKE\b", file.read_text("utf-8"), re.MULTILINE)
        if not trains or re.search(r"--(smoke|resume|help|dry-run)\b", command["rest"]):
            return command[0]
        return f"{command['module']} --smoke{command['rest']}"

    return COMMAND.sub(changed, text)


def make_material(folder: Path) -> None:
    """The images and texts that the pages speak of."""
    pictures = [load_photograph(name, 300) for name in ("temple", "flower")]
    pixels = [(255 * picture).round().astype(np.uint8) for picture in pictures]
    for name, picture in zip(("photo", "painting"), pixels, strict=True):
        Image.fromarray(picture).save(folder / f"{name}.jpg")
    random = np.random.default_rng(0)
    for number in range(24):
        picture = pixels[number % 2]
        top, left = (int(random.integers(0, extent - SIDE)) for extent in picture.shape[:2])
        part = picture[top : top + SIDE, left : left + SIDE]
        kind = ("daisy", "tulip")[number % 2]
        bright = (part.mean(axis=2) > part.mean()).astype(np.uint8)
        for path, array in (
            (f"flowers/{kind}/{number}.jpg", part),
            (f"cells/images/{number}.jpg", part),
            (f"cells/masks/{number}.png", bright),
            (f"objects/images/{number}.jpg", part),
            (f"photos/{number}.jpg", part),
        ):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / path)
        labels = folder / "objects" / "labels" / f"{number}.txt"
        labels.parent.mkdir(exist_ok=True)
        labels.write_text(f"{number % 2} 0.5 0.5 0.4 0.4\n")
    (folder / "cells" / "classes.txt").write_text("dark\nbright\n")
    (folder / "objects" / "classes.txt").write_text("daisy\ntulip\n")
    letter = "Dear reader, thank you for the letter of last week about the list of words.\n"
    (folder / "letters.txt").write_text(letter * 1000)
    mails = [f'{("no", "yes")[n % 2]},"letter {n} says {("no", "yes")[n % 2]}"' for n in range(200)]
    (folder / "mails.csv").write_text("\n".join(["label,text", *mails, ""]))


def copy_checkout(folder: Path) -> None:
    """What git knows of the checkout, and what is new in it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def try_page(page: str, folder: Path, options: Options, console: Console) -> list[Outcome]:
    """Run the blocks of a page; those of Python as one program, where the first of them is."""
    outcomes, shown = [], blocks(page)
    runs = [one for one in shown if one.language == "python" and not one.file]
    python = [one for one in runs if not _left_out(one, options)]
    for block in shown:
        place = f"{page}:{block.line}"
        if reason := _left_out(block, options):
            outcomes.append(Outcome(place, f"left out: {reason}"))
        elif block.file:
            (folder / block.file).write_text(block.text + "\n", encoding="utf-8")
        elif block.language == "bash":
            words = ["bash", "-euo", "pipefail", "-c", with_smoke(block.text)]
            outcomes.append(_run(place, words, folder, options, console))
        elif python and block is python[0]:
            text = "\n".join(one.text for one in python)
            outcomes.append(_run(place, ["python", "-c", text], folder, options, console))
    return outcomes


def _left_out(block: Block, options: Options) -> str:
    """Why a block does not run here, or ""."""
    if block.language not in ("bash", "python"):
        return f"a block of {block.language}"
    if block.where == "no" or (block.where == "network" and not options.network):
        return block.reason
    installs = re.search(r"\bpip install\b", block.text)
    return "it installs" if options.python and installs else ""


def _run(place: str, words: list[str], folder: Path, options: Options, console: Console) -> Outcome:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if options.python:
        programs = Path(options.python).absolute().parent
        environment["PYTHONPATH"] = str(folder)
    else:
        programs = folder / ".venv" / "bin"
        environment["VIRTUAL_ENV"] = str(programs.parent)
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    begun = time.monotonic()
    try:
        ended = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=60 * options.minutes,
        )
        result, output = ("failed" if ended.returncode else "ok"), ended.stdout
    except subprocess.TimeoutExpired:
        result, output = "failed", f"stopped after {options.minutes} minutes"
    seconds = time.monotonic() - begun
    say(console, f"{place}: {result}, {seconds:.0f} s")
    if result == "failed":
        say(console, "\n".join(output.splitlines()[-LINES:]))
    return Outcome(place, result, seconds)


def try_docs(options: Options, console: Console) -> list[Outcome]:
    """Run the pages in a temporary folder.

    Raises:
        UserError: a place without pages.
    """
    wanted = chosen(options.places)
    with tempfile.TemporaryDirectory(prefix="try_docs_") as temporary:
        folder = Path(temporary, "checkout")
        folder.mkdir()
        copy_checkout(folder)
        make_material(folder)
        if not options.python:
            subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True)
        return [one for page in wanted for one in try_page(page, folder, options, console)]


def main(argv: Sequence[str] | None = None) -> None:
    """Try the pages and print a table."""
    console = standard_console()
    with user_errors(console):
        options = tyro.cli(Options, description=__doc__, args=argv)
        outcomes = try_docs(options, console)
    table = Table("block", "seconds", "result", title_justify="left")
    for one in outcomes:
        table.add_row(one.place, f"{one.seconds:.0f}" if one.seconds else "", one.result)
    console.print(table)
    if any(one.result == "failed" for one in outcomes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
