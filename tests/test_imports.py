"""What an import brings with it, and what it says of packages that are not installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn_jax.extras import MissingExtra, extra

EXTRAS = {
    *("array_record", "grain", "sklearn", "tensorflow", "tensorflow_datasets"),
    *("huggingface_hub", "requests"),
    *("matplotlib", "cattrs", "tyro"),
    *("tensorboardX", "torch"),
}
# What only some parts need; JAX, Flax and NumPy are needed by all.
NEEDED: dict[str, set[str]] = {
    "layers": set(),
    "models": set(),
    "interpretability": set(),
    "style": {"optax"},
    "tasks": {"optax"},
    "data": {"PIL"},
    "pretrained": {"PIL"},
    "training": {"PIL", "optax", "orbax"},
}


def run(program: str) -> str:
    command = [sys.executable, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_package_alone_imports_nothing():
    assert run("import sys, cnn_jax; print('jax' in sys.modules)") == "False\n"


@pytest.mark.parametrize("part", NEEDED)
def test_a_part_imports_no_extra_and_nothing_else_that_it_does_not_need(part):
    watched = EXTRAS.union(*NEEDED.values())
    program = f"import sys, cnn_jax.{part}; print(*({watched} & sys.modules.keys()))"
    assert set(run(program).split()) == NEEDED[part]


@pytest.mark.parametrize(
    ("package", "name", "program"),
    [
        ("requests", "download", "from cnn_jax.download import *; published_size('http://x')"),
        ("sklearn", "data", "from cnn_jax.data.embedded import *; open_digits()"),
        ("matplotlib", "figures", "import cnn_jax.visual"),
        ("tyro", "experiments", "import experiments.resnet_cifar"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(package, name, program):
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run(f"import sys; sys.modules[{package!r}] = None; {program}")
    last = failure.value.stderr.strip().splitlines()[-1]
    assert f"needs {package}" in last and f"pip install 'cnn-jax[{name}]'" in last


def test_a_missing_module_of_our_own_is_not_taken_for_an_extra():
    with pytest.raises(ModuleNotFoundError, match="no_such_part") as failure, extra("data", "it"):
        import cnn_jax.no_such_part  # noqa: F401
    assert not isinstance(failure.value, MissingExtra)


def test_type_checkers_see_our_types(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "user.py").write_text("import cnn_jax\n\nversion: int = cnn_jax.__version__\n")
    # mypy takes this path for one of installed packages, which need a file py.typed.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "mypy", "--config-file=", f"--cache-dir={tmp_path}", "user.py"]
    checked = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert 'expression has type "str", variable has type "int"' in checked.stdout, checked.stdout
