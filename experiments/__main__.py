"""``python -m experiments``: list all experiments with their claims, and all tools."""

import ast
from pathlib import Path

from rich.console import Console
from rich.table import Table


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
        tree = ast.parse(path.read_text())
        names = {getattr(node, "name", None) for node in tree.body}
        line = (ast.get_docstring(tree) or "").partition("\n")[0]
        found[path.stem] = line, "Config" in names
    return found


def main() -> None:
    """Print the lists."""
    console = Console()
    for title, lines in (("experiment", experiments()), ("tool", tools())):
        table = Table(title=f"python -m experiments.{title.upper()} [--help]", title_justify="left")
        table.add_column(title, no_wrap=True)
        table.add_column("claim" if title == "experiment" else "what it is for")
        for name, line in lines.items():
            table.add_row(name, line)
        console.print(table)


if __name__ == "__main__":
    main()
