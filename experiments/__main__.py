"""``python -m experiments``: all experiments with their one-line claims."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Table


def experiments() -> dict[str, str]:
    """The claim of every experiment by name: the first line of its file's docstring.

    The files are read, not imported: the list is there at once.
    """
    claims = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        names = {getattr(node, "name", None) for node in tree.body}
        if "Config" in names:
            claims[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return claims


def main() -> None:
    """Print the list."""
    table = Table(title="python -m experiments.NAME [--help]", title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("claim")
    for name, claim in experiments().items():
        table.add_row(name, claim)
    Console().print(table)


if __name__ == "__main__":
    main()
