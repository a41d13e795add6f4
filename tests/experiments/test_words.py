"""word2vec as a program, and what is asked of the vectors of a run or a file."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data.word_files import read_vectors, write_vectors
from cnn_jax.data.words import WordsConfig
from cnn_jax.errors import ConfigError
from cnn_jax.tasks import Word2Vec
from cnn_jax.training import Plan, TrainingConfig
from experiments import word2vec
from experiments.tools import words
from experiments.tools.word_vectors import word2vec_program
from experiments.tools.words import WordVectors
from tests.probes.checks import check_devices, check_in_place, check_resume

TEXT = "a king rules a land\na queen rules a land\nthe cat sat on the mat\n" * 30
SHORT = TrainingConfig(
    duration="6 steps",
    batch_size=8,
    eval_batch_size=8,
    evaluate_every="3 steps",
    log_every="1 step",
)


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


def experiment(text, **options):
    data = WordsConfig(name=text, stretch=16, validation=0.2)
    config = replace(word2vec.SMOKE, size=4, data=data, training=SHORT)
    return word2vec.build(replace(config, **options))


@pytest.mark.parametrize(
    "output",
    ["negative_sampling", pytest.param("hierarchical_softmax", marks=pytest.mark.full)],
)
def test_a_run_goes_on_to_the_bit_and_learns(tmp_path, monkeypatch, text, output):
    options = {"learning_rate": 0.05, "threshold": 0, "output": output}
    result = check_resume(experiment(text, **options), tmp_path, monkeypatch, stop=2)
    losses = [row["loss"] for row in result.rows if row["split"] == "validation"]
    assert losses[-1] < losses[0]


@pytest.mark.full
@pytest.mark.parametrize("objective", ["skip_gram", "cbow"])
def test_eight_devices_train_what_one_does(tmp_path, text, objective):
    check_devices(experiment(text, objective=objective), tmp_path)


def test_a_step_does_not_move_the_tables(text):
    built, vocabulary = experiment(text), 20_000
    names = tuple(map(str, range(vocabulary)))
    built = replace(
        built,
        dataset=replace(built.dataset, class_names=names),
        task=Word2Vec(size=8, block=4, drawn=2),
    )
    batch = {"tokens": jnp.zeros((1, 8), int), "slot": jnp.arange(1), "weight": jnp.ones(1)}
    program = word2vec_program(built, Plan(8, 4, 8, 8))
    check_in_place(program, batch, (vocabulary, 8))


def test_options_that_do_not_apply(text):
    for training, message in (
        (replace(SHORT, accumulate=2), "--training.accumulate 2 does not apply to word2vec"),
        (replace(SHORT, precision="bfloat16"), "--training.precision bfloat16 does not apply"),
        (replace(SHORT, ema_decay=0.9), "--training.ema-decay 0.9 does not apply"),
    ):
        with pytest.raises(ConfigError, match=message):
            word2vec_program(replace(experiment(text), training=training), Plan(6, 1, 3, 3))
    with pytest.raises(ConfigError, match="has 384 words .* a window of 400 takes 401"):
        word2vec_program(experiment(text, window=400), Plan(6, 1, 3, 3))


def test_unknown_words_are_named_before_the_training(text):
    with pytest.raises(ConfigError, match="not among the 10 words of text.txt: 'kin'; .* are king"):
        experiment(text, analogy=("king", "queen", "kin"))
    with pytest.raises(ConfigError, match="--analogy needs three words"):
        word2vec.Config(analogy=("king",))


def test_what_is_drawn_does_not_make_another_run(start, tmp_path, text, capsys):
    flags = ("--smoke", "--data.name", text, "--data.validation", "0.2", "--data.stretch", "16")
    start("word2vec", *flags)
    capsys.readouterr()
    start("word2vec", *flags, "--analogy", "king", "queen", "cat", "--plane", "tsne")
    assert "finished before, at step 12" in " ".join(capsys.readouterr().out.split())
    (directory,) = (tmp_path / "word2vec").iterdir()
    assert {path.stem for path in (directory / "figures").iterdir()} == {"curves", "nearest", "map"}
    # The run is asked, tested and saved.
    questions, saved = tmp_path / "questions.txt", tmp_path / "saved.bin"
    questions.write_text(": all\nking queen cat mat\nking queen x y\n")
    flags = ("--run", str(directory), "--near", "king", "--analogy", "king", "queen", "cat")
    flags += ("--tests", str(questions), "--save", str(saved), "--map", str(tmp_path / "map.png"))
    words.main([*flags, "--number", "2"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "10 words, vectors of size 8" in shown and "king : queen = cat : ?:" in shown
    assert "3CosMul" in shown and f"wrote {saved}" in shown
    names, vectors = read_vectors(saved)
    assert len(names) == 10 and vectors.shape == (10, 8)
    with pytest.raises(SystemExit):
        words.main([*flags])
    assert "is there already; give another name, or --overwrite" in capsys.readouterr().out
    words.main(["--vectors", str(saved), "--near", "king", "--number", "2"])
    assert "king: " in capsys.readouterr().out


def test_a_file_is_asked(tmp_path, capsys):
    names = ("man", "king", "woman", "queen", "far")
    vectors = np.array([[1.0, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [-1, -1, 0]])
    write_vectors(tmp_path / "v.txt", names, vectors)
    (tmp_path / "pairs.csv").write_text("a,b,score\nman,king,9\nman,queen,1\nman,far,0\n")
    flags = ["--vectors", str(tmp_path / "v.txt"), "--tests", str(tmp_path / "pairs.csv")]
    words.main([*flags, "--analogy", "man", "king", "woman", "--number", "1"])
    shown = capsys.readouterr().out
    assert "man : king = woman : ?: queen 0.959" in shown and "1.0000" in shown
    for flags, message in (
        (["--vectors", str(tmp_path / "v.txt"), "--run", "x"], "got both"),
        ([], "got neither"),
        (["--vectors", str(tmp_path / "none")], "is no regular file"),
        (["--vectors", str(tmp_path / "v.txt"), "--near", "prince"], "'prince'"),
    ):
        with pytest.raises(SystemExit):
            words.main(flags)
        assert message in " ".join(capsys.readouterr().out.split())


def test_the_plane_keeps_what_differs_most():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.eye(2, 8), 10, axis=0) + 0.01 * rng.standard_normal((20, 8))
    vectors = WordVectors(tuple(map(str, range(20))), groups, "")
    for method in ("pca", "tsne"):
        points = vectors.plane(20, method)
        middle = points[:10].mean(axis=0), points[10:].mean(axis=0)
        apart = np.linalg.norm(middle[0] - middle[1])
        assert apart > np.linalg.norm(points[:10] - middle[0], axis=1).max()
