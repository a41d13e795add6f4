import numpy as np
import pytest

from cnn_jax.data import DataError
from cnn_jax.data.word_files import read_vectors, write_vectors

WORDS = ("the", "café", "1.5", "new_york")
VECTORS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


@pytest.mark.parametrize("binary", [False, True])
def test_what_is_written_is_read_to_the_bit(tmp_path, binary):
    path = tmp_path / "vectors"
    write_vectors(path, WORDS, VECTORS, binary=binary)
    words, vectors = read_vectors(path)
    assert words == WORDS and vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VECTORS)


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_reads_it(tmp_path, binary):
    models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    path = str(tmp_path / "vectors")
    write_vectors(path, WORDS, VECTORS, binary=binary)
    theirs = models.KeyedVectors.load_word2vec_format(path, binary=binary)
    assert tuple(theirs.index_to_key) == WORDS
    np.testing.assert_array_equal(theirs.vectors, VECTORS)
    theirs.save_word2vec_format(path, binary=binary)
    assert read_vectors(path)[0] == WORDS


def test_gloves_and_fasttexts_files(tmp_path):
    (tmp_path / "glove.txt").write_text("the 0.5 -1e-3\nof 2 3\n")
    words, vectors = read_vectors(tmp_path / "glove.txt")
    assert words == ("the", "of") and np.allclose(vectors, [[0.5, -1e-3], [2, 3]])
    # fastText ends each line by a space.
    (tmp_path / "wiki.vec").write_text("2 2\nthe 0.5 1 \nof 2 3 \n")
    assert read_vectors(tmp_path / "wiki.vec")[0] == ("the", "of")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no word vectors"),
        (b"the 1 2\nof 1\n", "line 2: expected a word and 2 finite numbers, got 1 after 'of'"),
        (b"the 1 2\nof 1 x\n", "line 2: could not convert"),
        (b"the 1 2\nof 1 nan\n", "line 2: expected a word and 2 finite numbers"),
        (b"the 1 2\n\xff 1 2\n", "line 2: .*can't decode byte 0xff"),
        (b"3 2\nthe 1 2\nof 1 2\n", "says that it has 3 words, and has 2"),
        (b"the 1 2\nthe 1 2\n", "has the word 'the' twice"),
        (b"2 1\na \x00\x00\x80\x3f\nb \x00\x00", "cut off or broken: word 2 of 2 is missing"),
        (b"1 1\na \x00\x00\x80\x7f\n", "the vector of 'a' is not finite"),
    ],
)
def test_a_broken_file_is_named_with_its_place(tmp_path, content, message):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_vectors(tmp_path / "bad")


def test_what_cannot_be_written(tmp_path):
    for word in ("", "a b", "a\n"):
        with pytest.raises(DataError, match="formats cannot hold the word"):
            write_vectors(tmp_path / "vectors", ("a", word), VECTORS[:2])
    assert not (tmp_path / "vectors").exists()
