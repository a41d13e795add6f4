"""``python -m experiments``: list all experiments with their claims, and all tools."""

import ast
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from cnn_jax.errors import UserError
from experiments.tools.console import standard_console
from experiments.tools.messages import user_errors


def experiments() -> dict[str, str]:
    """The claim of each experiment by name: the first line of its docstring."""
    return {name: line for name, (line, is_experiment) in _files().items() if is_experiment}


def tools() -> dict[str, str]:
    """The purpose of each tool by name: what follows the command in its docstring."""
    files = _files().items()
    return {
        name: line.split("``: ")[-1] for name, (line, is_experiment) in files if not is_experiment
    }


def _files() -> dict[str, tuple[str, bool]]:
    """The first line of each file's docstring, and whether it is an experiment (has a Config).

    The files are parsed, not imported, which is fast.
    """
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {getattr(node, "name", None) for node in tree.body}
        line = (ast.get_docstring(tree) or "").partition("\n")[0]
        found[path.stem] = line, "Config" in names
    return found


def main(words: Sequence[str] = ()) -> None:
    """Print the lists.

    Args:
        words: arguments of the command. It takes none, but people give it a name.
    """
    console = standard_console()
    with user_errors(console):
        check(words)
    for title, lines in (("experiment", experiments()), ("tool", tools())):
        table = Table(title=f"python -m experiments.{title.upper()} [--help]", title_justify="left")
        table.add_column(title, no_wrap=True)
        table.add_column("claim" if title == "experiment" else "what it is for")
        for name, line in lines.items():
            table.add_row(name, line)
        console.print(table)


def check(words: Sequence[str]) -> None:
    """Raise a UserError with the right command if the words name an experiment or tool."""
    if not words or words[0] in ("-h", "--help"):
        return
    known = {**experiments(), **tools()}
    if words[0] in known:
        raise UserError(f"the name belongs to the command: python -m experiments.{words[0]} …")
    close = difflib.get_close_matches(words[0], known, n=3)
    hint = " or ".join(f"python -m experiments.{name}" for name in close)
    raise UserError(
        f"there is no experiment or tool {words[0]!r}; "
        + (f"did you mean {hint}?" if close else "python -m experiments lists all")
    )


if __name__ == "__main__":
    main(sys.argv[1:])
