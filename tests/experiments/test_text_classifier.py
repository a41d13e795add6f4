"""Networks that begin with given vectors of words."""

from dataclasses import replace

import numpy as np
import pytest

from cnn_jax.data.word_files import write_vectors
from cnn_jax.errors import ConfigError
from cnn_jax.training import TrainingConfig, train
from experiments import text_classifier
from tests.training.small import one_device


def config(tmp_path, words, **options):
    table = tmp_path / "texts.csv"
    lines = ["yes,good film", "no,bad film", "yes,a good one", "no,a bad one"] * 8
    table.write_text("\n".join(["label,text", *lines]))
    vectors = np.random.default_rng(0).standard_normal((len(words), 5)).astype(np.float32)
    write_vectors(tmp_path / "vectors.txt", words, vectors)
    data = replace(text_classifier.SMOKE.data, name=str(table))
    given = {"vectors": str(tmp_path / "vectors.txt"), "bodies": ("cnn",), "data": data}
    return replace(text_classifier.SMOKE, **given | options), dict(zip(words, vectors, strict=True))


def test_known_words_begin_with_their_vectors(tmp_path):
    settings, vectors = config(tmp_path, ("good", "bad", "other"))
    study = text_classifier.build(settings)
    assert list(study) == ["cnn_random", "cnn_static", "cnn_non_static"]
    words = study["cnn_static"].task.words
    table = np.random.default_rng(1).standard_normal((len(words), 5))
    begun = study["cnn_static"].initialize({"params": {"embedding": table, "head": 0}}, {})
    after = begun["params"]["embedding"]
    for word in ("good", "bad"):
        np.testing.assert_array_equal(after[words.index(word)], vectors[word])
    place = words.index("film")
    scale = np.std([vectors["good"], vectors["bad"]]) / table.std()
    np.testing.assert_allclose(after[place], scale * table[place], rtol=1e-5)
    assert begun["params"]["head"] == 0 and study["cnn_random"].initialize is None
    with pytest.raises(ConfigError, match="vectors.txt has none of the 6 words of the texts"):
        settings, _ = config(tmp_path, ("gut", "schlecht"))
        text_classifier.build(settings)["cnn_static"].initialize(begun, {})


@pytest.mark.full
def test_static_vectors_stay_and_others_train(tmp_path):
    training = TrainingConfig(duration="3 steps", batch_size=8)
    settings, vectors = config(tmp_path, ("good", "bad", "other"), training=training)
    study = text_classifier.build(settings)
    assert list(study) == ["cnn_random", "cnn_static", "cnn_non_static"]
    moved = {}
    for name, one in study.items():
        result = train(one, tmp_path / name, one_device())
        table = result.variables["params"]["embedding"]
        place = one.task.words.index("good")
        moved[name] = np.abs(table[place] - vectors["good"]).max()
    assert moved["cnn_static"] == 0 and 0 < moved["cnn_non_static"] < 0.1 < moved["cnn_random"]


def test_bodies_are_different_ones():
    with pytest.raises(ConfigError, match="--bodies needs one or several different ones"):
        text_classifier.Config(bodies=("cnn", "cnn"))
