"""The pages that docs/pages.py makes, and what docs/docstrings.py does to docstrings."""

import importlib
import importlib.util
import logging
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

pytest.importorskip("mkdocs", reason="needs the extra docs")
pytest.importorskip("math_core", reason="needs the extra docs")
griffe = pytest.importorskip("griffe", reason="needs the extra docs")

DOCS = Path(__file__).parents[1] / "docs"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages = load("pages")


@pytest.mark.parametrize("package", pages.PACKAGES)
def test_the_reference_has_every_public_name(package):
    public = importlib.import_module(f"cnn_jax.{package}").__all__
    blocks = [line for line in pages.reference_of(package).splitlines() if line.startswith("::: ")]
    assert sorted(block.rpartition(".")[2] for block in blocks) == sorted(public)


def test_every_package_has_a_page():
    packages = {path.parent.name for path in (DOCS.parent / "cnn_jax").glob("*/__init__.py")}
    assert packages == set(pages.PACKAGES)


def test_a_name_that_is_public_and_not_imported_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    (tmp_path / "cnn_jax" / "part").mkdir(parents=True)
    text = "from cnn_jax.part.one import a\n__all__ = ['a', 'b']\n"
    (tmp_path / "cnn_jax" / "part" / "__init__.py").write_text(text)
    with pytest.raises(ValueError, match=r"does not import: \{'b'\}"):
        list(pages.exports("part"))


def rewritten(text: str, uri: str, repository: str = "https://example.org/cnn_jax") -> str:
    return pages.on_page_markdown(
        text,
        page=SimpleNamespace(file=SimpleNamespace(src_uri=uri)),
        config=SimpleNamespace(extra={"repository": repository}),
        files=[SimpleNamespace(src_uri=name) for name in ("FAULTS.md", "howto/faster.md")],
    )


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        # Pages of RESULTS.md and of docs/, seen from each other.
        ("results.md", "[b](BENCHMARKS.md)", "[b](benchmarks.md)"),
        ("results.md", "[f](../docs/FAULTS.md#x)", "[f](FAULTS.md#x)"),
        ("FAULTS.md", "[k](../experiments/RESULTS.md#killed)", "[k](results.md#killed)"),
        ("howto/faster.md", "[l](../../launch/README.md)", "[l](../launch.md)"),
        # Other files of the repository.
        (
            "howto/faster.md",
            "[r](../../experiments/runs.py)",
            "[r](https://example.org/cnn_jax/blob/main/experiments/runs.py)",
        ),
        # MkDocs sees what leads nowhere, and what is elsewhere.
        ("results.md", "[m](MISSING.md)", "[m](MISSING.md)"),
        ("results.md", "[j](https://docs.jax.dev)", "[j](https://docs.jax.dev)"),
        ("FAULTS.md", "[o](../../outside.md)", "[o](../../outside.md)"),
    ],
)
def test_links_lead_to_pages_or_to_the_repository(page, link, expected):
    assert rewritten(link, page) == expected


def test_without_the_repositorys_address_its_files_are_only_named():
    assert rewritten("see [runs](runs.py).", "results.md", repository="") == "see runs."


def test_formulas_become_mathml(caplog):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="page.md"))
    inline = pages.on_page_content(r'<span class="arithmatex">\(x &lt; 1\)</span>', page=page)
    assert inline.startswith("<math>") and "&lt;" in inline
    block = pages.on_page_content('<div class="arithmatex">\\[\nx\n\\]</div>', page=page)
    assert block.startswith('<math display="block">')
    assert not caplog.records
    with caplog.at_level(logging.WARNING):  # an error in a strict build
        pages.on_page_content(r'<span class="arithmatex">\(\nosuch\)</span>', page=page)
    assert "page.md" in caplog.text and "nosuch" in caplog.text


def docstring(text: str, parameters: str = "x") -> str:
    """The docstring of a function of `cnn_jax.layers`, beside a public `relu` and `dropout`."""
    package = griffe.visit(
        "cnn_jax.layers",
        filepath=Path("cnn_jax/layers/__init__.py"),
        code="from cnn_jax.layers.activations import relu\n"
        "from cnn_jax.layers.dropout import dropout\n__all__ = ['dropout', 'relu']\n"
        f"def function({parameters}):\n    '''{text}'''\n",
    )
    package.name = "layers"
    package.set_member("dropout", griffe.Module("dropout"))
    root = griffe.Module("cnn_jax")
    root.set_member("layers", package)
    loader = SimpleNamespace(modules_collection=root.members | {"cnn_jax": root})
    load("docstrings").Docstrings().on_object(obj=package["function"], loader=loader)
    return package["function"].docstring.value


def test_arguments_on_one_line_are_split():
    text = "Do.\n\n    Args:\n        a, b: as in\n            c.\n        d: 1, e: 2.\n    "
    assert docstring(text, "a, b, d") == (
        "Do.\n\nArgs:\n    a: as in\n        c.\n    b: as in\n        c.\n    d: 1, e: 2."
    )


def test_public_names_become_links():
    assert docstring("As `relu`, `layers.relu`.") == (
        "As [`relu`][cnn_jax.layers.relu], [`layers.relu`][cnn_jax.layers.relu]."
    )
    assert docstring("`dropout`") == "[`dropout`][cnn_jax.layers.dropout.dropout]"
    untouched = "`function`, `conv9d`, `tasks.relu`, ``relu``"
    assert docstring(untouched) == untouched
    assert docstring("`relu`", parameters="relu") == "`relu`"
