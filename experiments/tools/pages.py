"""The pages of the documentation, and the blocks of code in them.

A comment on the line before a block says where it runs; without one it runs everywhere:

    <!-- run: full, takes a minute -->          the tests run it only with --full
    <!-- run: network, public weights -->       it downloads something
    <!-- run: no, needs a cluster -->           it is only read
"""

import re
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r'^(?P<indent> *)```(?P<language>\w+)(?: title="(?P<file>[^"]+)")?$')
MARK = re.compile(r"^ *<!-- run: (?P<where>full|network|no), (?P<reason>.+) -->$")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: its file, relative to the checkout.
        line: number of its first line.
        language: as the page says, such as "python" or "bash".
        text: its code.
        where: "" (everywhere), "full", "network" or "no".
        reason: why it does not run everywhere.
        file: the file that the reader is told to write, or "".
    """

    page: str
    line: int
    language: str
    text: str
    where: str
    reason: str
    file: str


def pages() -> list[str]:
    """All pages, relative to the checkout, in order."""
    files = [*ROOT.glob("*.md"), ROOT / "launch" / "README.md", *(ROOT / "docs").rglob("*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in files)


def blocks(page: str) -> list[Block]:
    """The blocks of a page.

    Raises:
        ValueError: a block that does not end, or a mark that is not followed by a block.
    """
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    found, mark, number = [], None, 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := FENCE.match(line):
            end = f"{fence['indent']}```"
            if end not in lines[number:]:
                raise ValueError(f"{page}:{number}: the block does not end")
            length = lines[number:].index(end)
            text = textwrap.dedent("\n".join(lines[number : number + length]))
            where, reason = (mark["where"], mark["reason"]) if mark else ("", "")
            found.append(
                Block(page, number + 1, fence["language"], text, where, reason, fence["file"] or "")
            )
            number += length + 1
            mark = None
        elif mark:
            raise ValueError(f"{page}:{number}: a mark must be followed by a block")
        elif "<!-- run:" in line:
            mark = MARK.match(line)
            if not mark:
                raise ValueError(f"{page}:{number}: unknown mark {line!r}, expected {MARK.pattern}")
    if mark:
        raise ValueError(f"{page}:{number}: a mark must be followed by a block")
    return found


def modules(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The modules that a shell block runs by ``python -m``, with their arguments.

    A module that starts another one, as `launch.local` does, is followed by that one.
    """
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        for words in _commands(list(lexer)):
            while words and re.match(r"\w+=", words[0]):
                words = words[1:]
            if words[:1] == ["python"]:
                while "-m" in words:
                    words = words[words.index("-m") + 1 :]
                    yield words[0], words[1:]


def _commands(words: Sequence[str]) -> Iterator[list[str]]:
    """The words of each command of a line."""
    command: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= set("();<>|&"):
            yield command
            command = []
        else:
            command.append(word)
