"""The gradient through time, and text from a run."""

from dataclasses import replace

import pytest

from cnn_jax.data.text import TextConfig
from cnn_jax.errors import ConfigError
from experiments import char_rnn
from experiments.tools import generate
from tests.experiments.small_run import save_run

TEXT = "the cat sat on the mat. " * 40


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A language model of ten characters, with random weights."""
    directory = tmp_path_factory.mktemp("runs") / "char_rnn" / "one"
    text = directory.parents[1] / "text.txt"
    text.write_text(TEXT)
    config = replace(char_rnn.SMOKE, data=TextConfig(name=str(text), window=20))
    save_run(directory, "char_rnn", config, char_rnn.build(config))
    return directory


def test_text_goes_on_with_a_prompt(run, capsys):
    generate.main(["--run", str(run), "--prompt", "the ", "--length", "30", "--samples", "2"])
    first, second = capsys.readouterr().out.rstrip("\n").split("\n" + "-" * 40 + "\n")
    assert first != second and len(first) == len(second) == 34
    assert first.startswith("the ") and set(first) <= set(TEXT)
    generate.main(["--run", str(run), "--prompt", "the ", "--length", "30", "--temperature", "0"])
    likeliest = capsys.readouterr().out
    generate.main(["--run", str(run), "--prompt", "the ", "--length", "30", "--top-k", "1"])
    assert capsys.readouterr().out == likeliest


def test_what_it_cannot_write(run, tmp_path, capsys):
    for flags, message in (
        (["--prompt", "the ü"], "characters that char_rnn/one"),
        (["--prompt", ""], "--prompt has no character: ''"),
        (["--top-p", "0"], "top_p must be more than 0"),
        (["--checkpoint", "first"], "--checkpoint first with --run: expected best, last"),
    ):
        with pytest.raises(SystemExit):
            generate.main(["--run", str(run), *flags])
        captured = capsys.readouterr()
        assert message in " ".join((captured.out + captured.err).split())


def test_cells_are_different_ones():
    with pytest.raises(ConfigError, match="--cells needs one or several different cells"):
        char_rnn.Config(cells=("lstm", "lstm"))
    with pytest.raises(ConfigError, match="--cells needs one or several different cells"):
        char_rnn.Config(cells=())
