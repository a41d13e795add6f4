"""The documentation: every block of Python runs, every command has flags that exist."""

import importlib.util
import io
import re
import sys
import types

import pytest
from rich.console import Console

from cnn_jax.errors import UserError
from cnn_jax.models import registry
from experiments.__main__ import experiments
from experiments.tools import pages as pages_module
from experiments.tools.pages import ROOT, Block, blocks, modules, pages
from experiments.tools.try_docs import Options, chosen, make_material, try_page, with_smoke
from tests.only_parse import Parsed, only_parse, run_program  # noqa: F401 (a fixture)

WITH_PYTHON = [page for page in pages() if any(b.language == "python" for b in blocks(page))]
SHELL_BLOCKS = [block for page in pages() for block in blocks(page) if block.language == "bash"]


def named(block):
    return f"{block.page}:{block.line}"


@pytest.fixture
def page_module(monkeypatch, tmp_path, no_shape_hook):
    """A module of its own for the blocks of a page, in an empty directory, as a reader has it.

    What a page registers is forgotten after it.
    """
    module = types.ModuleType("page_of_docs")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_ENTRIES", dict(registry._ENTRIES))
    monkeypatch.chdir(tmp_path)
    return module


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_the_blocks_of_a_page_run_in_order(page, page_module, request):
    full = request.config.getoption("--full")
    for block in blocks(page):
        if block.language != "python" or block.where in ("network", "no"):
            continue
        if block.where == "full" and not full:
            continue
        # So that a traceback names the line of the page.
        source = "\n" * (block.line - 1) + block.text
        exec(compile(source, str(ROOT / page), "exec"), page_module.__dict__)


def without_resumed(words):
    """The arguments without ``--resume RUN``: that run is on the reader's disk."""
    if "--resume" not in words:
        return words
    at = words.index("--resume")
    return words[:at] + words[at + 2 :]


@pytest.mark.parametrize("block", SHELL_BLOCKS, ids=named)
def test_the_flags_of_a_command_exist(block, only_parse, monkeypatch, tmp_path):  # noqa: F811
    files = {one.file: one for one in blocks(block.page) if one.file}
    for module, words in modules(block):
        if not module.startswith(("experiments.", "launch.")):
            continue
        written = files.get(module.replace(".", "/") + ".py")
        program = module
        if written:
            program = tmp_path / "written.py"
            program.write_text(written.text)
        else:
            assert importlib.util.find_spec(module), f"{named(block)}: no module {module}"
        with pytest.raises(SystemExit if "--help" in words else Parsed):
            run_program(program, without_resumed(words), monkeypatch)


@pytest.mark.full
def test_the_experiment_that_a_page_has_written_runs(tmp_path, monkeypatch):
    page = "docs/howto/write_an_experiment.md"
    (written,) = (one for one in blocks(page) if one.file)
    path = tmp_path / "dropout_rates.py"
    path.write_text(written.text)
    run_program(path, ["--smoke", "--workdir", str(tmp_path), "--name", "one"], monkeypatch)
    run = tmp_path / "dropout_rates" / "one"
    assert {one.parent.name for one in run.glob("*/summary.json")} == {"rate-0", "rate-0.5"}


def test_the_parser_refuses_an_unknown_flag(only_parse, monkeypatch):  # noqa: F811
    with pytest.raises(SystemExit):
        run_program("experiments.resnet_cifar", ["--no-such-flag", "1"], monkeypatch)


LECTURE = [page for page in pages() if re.match(r"docs/lecture/(?!index)", page)]
SECTIONS = ["Function", "Experiment", "Figures of merit", "What surprised"]


@pytest.mark.parametrize("page", LECTURE)
def test_the_pages_of_the_lecture_are_alike(page):
    text = (ROOT / page).read_text()
    assert re.findall("^## (.+)$", text, re.MULTILINE) == SECTIONS
    assert re.search(r"^::: cnn_jax\.", text, re.MULTILINE)


def test_every_experiment_is_on_a_page_of_the_lecture():
    text = "".join((ROOT / page).read_text() for page in LECTURE)
    named = set(re.findall(r"python -m experiments\.(\w+)", text))
    # The page on scaling trains nothing; fid, generate and the like are tools.
    assert experiments().keys() <= named


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Writes a page of a checkout of its own, and gives its blocks."""
    monkeypatch.setattr(pages_module, "ROOT", tmp_path)

    def page(text):
        (tmp_path / "page.md").write_text(text)
        return blocks("page.md")

    return page


def test_a_page_gives_its_blocks(page):
    one, two = page(
        'Text.\n\n```python title="a.py"\nx = 1\n\ny = 2\n```\n\n- item\n\n'
        "  <!-- run: full, slow -->\n  ```bash\n  ls\n  ```\n"
    )
    assert one == Block("page.md", 4, "python", "x = 1\n\ny = 2", "", "", "a.py")
    assert two == Block("page.md", 13, "bash", "ls", "full", "slow", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\nx = 1\n", "page.md:1: the block does not end"),
        ("<!-- run: no, why -->\n\n```bash\nls\n```\n", "page.md:2: a mark must be followed"),
        ("<!-- run: no, why -->", "page.md:1: a mark must be followed by a block"),
        ("<!-- run: never -->\n```bash\nls\n```\n", "page.md:1: unknown mark"),
    ],
)
def test_a_page_that_is_wrong(page, text, message):
    with pytest.raises(ValueError, match=message):
        page(text)


def test_the_modules_of_a_shell_block(page):
    (block,) = page(
        "```bash\nA=1 python -m a.b --x 'two words' \\\n    --y  # python -m no\n"
        "ls && python -m launch.local --processes 2 -m c | tee out\n```\n"
    )
    assert list(modules(block)) == [
        ("a.b", ["--x", "two words", "--y"]),
        ("launch.local", ["--processes", "2", "-m", "c"]),
        ("c", []),
    ]


def test_trainings_are_tried_for_a_few_steps():
    train = "python -m experiments.train --name x \\\n    --seed 1\nls"
    assert with_smoke(train) == train.replace(".train", ".train --smoke")
    for other in ("predict photos/", "train --resume x", "train \\\n  --smoke", "scaling"):
        command = f"python -m experiments.{other}"
        assert with_smoke(command) == command
    assert "--smoke" in with_smoke("python -m experiments.of_a_page")


def test_pages_are_tried_in_an_order_in_which_they_work():
    every = chosen(())
    assert every[0] == "docs/start/install.md" and "README.md" in every
    assert chosen(["docs/start/", "docs/howto/export.md"])[-1] == "docs/howto/export.md"
    with pytest.raises(UserError, match=r"there is no page docs/none; there are .*README.md"):
        chosen(["docs/none"])


def test_a_failed_block_is_shown(page, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.tools.try_docs.blocks", blocks)
    page(
        '```bash\necho one > file\n```\n```python title="two.py"\nprint(2)\n```\n'
        "```bash\npython two.py; cat file; exit 3\n```\n"
        "<!-- run: network, a download -->\n```bash\ncurl x\n```\n```bash\npip install x\n```\n"
    )
    told = Console(file=io.StringIO(), width=80)
    options = Options(python=sys.executable)
    outcomes = try_page("page.md", tmp_path, options, told)
    assert [one.result for one in outcomes] == [
        *("ok", "failed"),
        *("left out: a download", "left out: it installs"),
    ]
    assert told.file.getvalue().splitlines()[-2:] == ["2", "one"]


def test_the_material_of_the_pages(tmp_path):
    make_material(tmp_path)
    assert len(list((tmp_path / "flowers").rglob("*.jpg"))) == 24
    assert (tmp_path / "photo.jpg").is_file() and (tmp_path / "mails.csv").is_file()
