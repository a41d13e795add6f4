"""Where a tool writes its files: never over those of an earlier call unless it is asked to."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from cnn_jax.errors import UserError


@dataclass(frozen=True)
class OutputConfig:
    """Where the files are written."""

    output: str = ""
    """Folder of the files; by default runs/<tool>/<network>, numbered if it is there already."""
    overwrite: bool = False
    """Write into a folder that holds files; those of the same names are replaced."""


def output_folder(config: OutputConfig, tool: str, title: str) -> Path:
    """The folder for a tool's files. It is not created yet.

    Args:
        config: the user's choice.
        tool: name of the tool.
        title: of the network; what precedes its first comma names the default folder.

    Raises:
        UserError: --output is not a folder, or holds files and --overwrite is not given.
    """
    if config.output:
        folder = Path(config.output).expanduser()
        if folder.exists() and not folder.is_dir():
            raise UserError(
                f"cannot write to {folder}: it is a file, expected a folder; give another place "
                "with --output"
            )
        if _holds_files(folder) and not config.overwrite:
            raise UserError(
                f"the folder {folder} holds files already; give another --output, or --overwrite "
                "to replace files of the same names"
            )
        return folder
    first = Path("runs", tool, slug(title.partition(",")[0]))
    if config.overwrite or not _holds_files(first):
        return first
    numbered = (first.with_name(f"{first.name}-{number}") for number in count(2))
    return next(folder for folder in numbered if not _holds_files(folder))


def slug(text: str) -> str:
    """The text as a part of a file name."""
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "unnamed"


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make the folder, and turn an OSError about it into a UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}; give another place with --output"
        ) from None


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write rows with the same columns. Names of files keep their bytes, UTF-8 or not.

    Args:
        path: of the file.
        rows: values by column.
        columns: where there may be no rows; by default those of the first one.
    """
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
