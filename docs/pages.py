"""Pages of the site that are made from other files, for MkDocs (`hooks` in mkdocs.yml).

- The reference has a page for each package, with every name of its `__all__`.
- RESULTS.md, BENCHMARKS.md and other files beside the code are shown as they are.
- The gallery shows every picture of docs/gallery/ with the command that made it.
- A link to a file of the repository leads to its page if it has one, and else to its source.
- Formulas become MathML, which browsers draw without a program or fonts of ours.
"""

import ast
import html
import os
import re
from collections.abc import Iterator
from pathlib import Path

from math_core import LatexError, LatexToMathML
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

log = get_plugin_logger("pages")

ROOT = Path(__file__).resolve().parents[1]
DOCS = "docs"

SHOWN = {
    "results.md": "experiments/RESULTS.md",
    "benchmarks.md": "experiments/BENCHMARKS.md",
    "launch.md": "launch/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages that show a file from elsewhere in the repository."""

PACKAGES = (
    "layers",
    "models",
    "pretrained",
    "style",
    "tasks",
    "data",
    "training",
    "interpretability",
    "visual",
)
MODULES = ("export", "errors", "imagenet", "description")
"""Modules beside the packages that users import from."""

LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?\)")
FORMULA = re.compile(r'<(?P<tag>span|div) class="arithmatex">(?P<tex>.*?)</(?P=tag)>', re.DOTALL)


def on_config(config: MkDocsConfig) -> None:
    """Show the repository's address in the footer, if it is known."""
    if address := config.extra["repository"]:
        config.extra["social"] = [{"icon": "material/git", "link": address, "name": "Source"}]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that have no file in docs/."""
    made = {page: (ROOT / path).read_text("utf-8") for page, path in SHOWN.items()}
    made["gallery.md"] = gallery()
    made["reference/index.md"] = reference_index()
    made["reference/cnn_jax.md"] = reference_of_modules()
    made |= {f"reference/{name}.md": reference_of(name) for name in PACKAGES}
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to their pages, or to their source."""
    uri = page.file.src_uri
    origin = SHOWN.get(uri, f"{DOCS}/{uri}")
    pages = {path: shown for shown, path in SHOWN.items()}
    pages |= {f"{DOCS}/{file.src_uri}": file.src_uri for file in files if file.src_uri not in SHOWN}

    def led(link: re.Match[str]) -> str:
        target = os.path.normpath(os.path.join(os.path.dirname(origin), link["path"]))
        if target in pages:
            path = os.path.relpath(pages[target], os.path.dirname(uri) or ".")
        elif (ROOT / target).exists() and not target.startswith(".."):
            if not config.extra["repository"]:
                return link["text"]
            path = f"{config.extra['repository']}/blob/main/{target}"
        else:
            return link[0]  # MkDocs warns of it
        return f"[{link['text']}]({path}{link['anchor'] or ''})"

    return LINK.sub(led, markdown)


def on_page_content(content: str, *, page: Page, **_: object) -> str:
    """Turn the formulas of a page into MathML."""
    converter = LatexToMathML()

    def drawn(formula: re.Match[str]) -> str:
        tex = html.unescape(formula["tex"]).strip()
        display = formula["tag"] == "div"
        try:  # without \( and \), or \[ and \]
            return converter.convert_with_local_state(tex[2:-2], displaystyle=display)
        except LatexError as error:
            log.warning(f"{page.file.src_uri}: {tex} is not a formula: {error}")
            return formula[0]

    return FORMULA.sub(drawn, content)


def gallery() -> str:
    """The page of pictures."""
    pictures = ast.literal_eval(assigned("PICTURES", ROOT / "experiments/tools/gallery.py"))
    parts = [
        "---\nhide: [navigation, toc]\n---",
        "# Gallery",
        "One picture an experiment, drawn by it with the command below. `python -m "
        "experiments.tools.gallery NAME` makes it anew; `temple.png` and `flower.png` are "
        "scikit-learn's photographs. Most figures of [Results](results.md) come from longer runs.",
        '<div class="gallery" markdown>',
    ]
    for name, (commands, _) in pictures.items():
        if not (ROOT / DOCS / "gallery" / f"{name}.webp").exists():
            continue
        claim = summary_of(ROOT / "experiments" / f"{name}.py").partition("\n")[0]
        lines = "\n".join(f"python -m experiments.{line}" for line in commands.splitlines())
        image = f"![{claim}](gallery/{name}.webp){{ loading=lazy }}"
        parts += [
            f'<div markdown id="{name}">',
            f"[{image}](gallery/{name}.webp)",
            claim,
            f"```bash\n{lines}\n```",
            "</div>",
        ]
    return "\n\n".join([*parts, "</div>"]) + "\n"


def exports(package: str) -> Iterator[tuple[str, list[str]]]:
    """Modules of a package with the public names that come from each, in its own order."""
    path = ROOT / "cnn_jax" / package / "__init__.py"
    left = set(ast.literal_eval(assigned("__all__", path)))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [alias.name for alias in node.names if alias.name in left]
            if names:
                left -= set(names)
                yield node.module, names
    if left:
        raise ValueError(f"{path}: __all__ has names that it does not import: {left}")


def assigned(name: str, path: Path) -> ast.expr:
    """What a module assigns to a name at its top."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if ast.unparse(target) == name:
                return node.value
    raise ValueError(f"{path} does not define {name}")


def summary_of(path: Path) -> str:
    """The docstring of a module."""
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def source_of(module: str) -> Path:
    """The file of a module or package."""
    path = ROOT / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def reference_of(package: str) -> str:
    """The page of a package: a section for each of its modules, with its public names."""
    parts = [f"# cnn_jax.{package}", summary_of(source_of(f"cnn_jax.{package}"))]
    modules = {path.stem for path in (ROOT / "cnn_jax" / package).iterdir()}
    for module, names in exports(package):
        path = source_of(module)
        parts += [f"## {path.relative_to(ROOT / 'cnn_jax')}", summary_of(path)]
        for name in names:
            # In Griffe's eyes a module hides the function of its name, as in layers/dropout.py.
            home = module if name in modules else f"cnn_jax.{package}"
            parts.append(reference_to(f"{home}.{name}"))
    return "\n\n".join(parts) + "\n"


def reference_of_modules() -> str:
    """The page of the package itself, and of modules beside its packages."""
    parts = ["# cnn_jax", summary_of(source_of("cnn_jax")), reference_to("cnn_jax.load_run")]
    for module in MODULES:
        parts.append(reference_to(f"cnn_jax.{module}", "heading_level: 2"))
    return "\n\n".join(parts) + "\n"


def reference_to(path: str, *options: str) -> str:
    """The block from which mkdocstrings makes the reference to an object."""
    return f"::: {path}\n    options: {{{', '.join(['skip_local_inventory: false', *options])}}}"


def reference_index() -> str:
    """The packages, with what each holds."""
    summaries = {name: summary_of(source_of(f"cnn_jax.{name}")) for name in PACKAGES}
    rows = [
        f"| [cnn_jax.{name}]({name}.md) | {summary.partition(chr(10))[0]} |"
        for name, summary in summaries.items()
    ]
    return "\n".join(
        [
            "# Reference",
            "",
            "Every public name. Images are NHWC, kernels HWIO, labels int32, batch first.",
            "",
            "| package | what it holds |",
            "| --- | --- |",
            "| [cnn_jax](cnn_jax.md) | Trained networks, export, errors. |",
            *rows,
            "",
        ]
    )
