"""Language models against PyTorch's layers, and what is drawn from them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.errors import ConfigError
from cnn_jax.models import LanguageModel
from cnn_jax.models.sampling import likeliest, sample
from tests.tolerance import assert_close

WORDS = 7
TOKENS = np.array([[0, 3, 3, 6, 1], [5, 2, 0, 1, 4]])


def drawn(model):
    variables = model.init(jax.random.key(0), jnp.asarray(TOKENS))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), variables)


@pytest.mark.parametrize(
    ("cell", "tied", "embedding"),
    [("lstm", False, 3), ("gru", True, 3), ("rnn", True, 0)],
)
def test_logits_state_and_gradients_are_pytorchs(cell, tied, embedding):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    with jax.enable_x64(True):
        model = LanguageModel(
            WORDS, cell=cell, features=4, layers=2, embedding=embedding, tied=tied
        )
        variables = drawn(model)
        params = variables["params"]

        def tensor(array):
            return torch.tensor(np.asarray(array), requires_grad=True)

        table = tensor(params["embedding"])
        body = getattr(torch.nn, cell.upper())(
            embedding or 4, 4, num_layers=2, batch_first=True, dtype=torch.float64
        )
        names = model.bind(variables).body.torch_names()
        for name, parameter in body.named_parameters():
            layer, leaf = names[name].split("/")[1:]
            parameter.data = torch.tensor(np.asarray(params["body"][layer][leaf]).T.copy())
        outputs, state = body(table[torch.tensor(TOKENS)])
        if not tied:
            head = params["head"]
            expected = outputs @ tensor(head["kernel"]) + tensor(head["bias"])
        else:
            if embedding:
                outputs = outputs @ tensor(params["projection"]["kernel"])
            expected = outputs @ table.T + tensor(params["head_bias"])
        torch.sin(expected).sum().backward()

        def total(params):
            logits, state = model.apply({"params": params}, TOKENS)
            return jnp.sum(jnp.sin(logits)), (logits, state)

        gradients, (logits, ours) = jax.grad(total, has_aux=True)(params)
        assert_close(logits, expected.detach().numpy())
        assert_close(gradients["embedding"], table.grad.numpy())
        hidden = state[0] if cell == "lstm" else state
        last = [one.hidden if cell == "lstm" else one for one in ours]
        assert_close(jnp.stack(last), hidden.detach().numpy())
        # The second half goes on with the state of the first.
        first, middle = model.apply(variables, TOKENS[:, :2])
        second, _ = model.apply(variables, TOKENS[:, 2:], middle)
        assert_close(jnp.concatenate([first, second], axis=1), logits)


@pytest.mark.usefixtures("no_shape_hook")
def test_sizes_and_dropout():
    model = LanguageModel(WORDS, features=4, layers=1, embedding=3, dropout=0.5)
    variables = drawn(model)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables))
    assert count == 7 * 3 + 4 * 4 * (3 + 4 + 2) + 4 * 7 + 7
    keys = [{"dropout": jax.random.key(n)} for n in (0, 1)]
    one, other = (model.apply(variables, TOKENS, train=True, rngs=key)[0] for key in keys)
    assert not np.allclose(one, other)
    assert model.apply(variables, TOKENS)[0].shape == (2, 5, WORDS)
    half = LanguageModel(WORDS, features=4, dtype=jnp.bfloat16)
    assert half.apply(drawn(half), TOKENS)[0].dtype == jnp.float32
    for options, message in (
        ({"cell": "transformer"}, "cell must be one of 'lstm', 'gru', 'rnn'"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            LanguageModel(WORDS, **options)


def test_the_likeliest_tokens_are_kept():
    probabilities = np.array([[0.5, 0.05, 0.3, 0.15], [0.1, 0.2, 0.3, 0.4]])
    logits = jnp.log(probabilities)

    def kept(**options):
        options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0} | options
        return np.isfinite(likeliest(logits, **options)).astype(int).tolist()

    assert kept() == [[1, 1, 1, 1], [1, 1, 1, 1]]
    assert kept(top_k=2) == [[1, 0, 1, 0], [0, 0, 1, 1]]
    assert kept(top_p=0.6) == [[1, 0, 1, 0], [0, 0, 1, 1]]
    assert kept(top_p=0.01) == [[1, 0, 0, 0], [0, 0, 0, 1]]
    # The probability is that of the tokens that top_k has left: 0.5 / 0.8 is more than 0.6.
    assert kept(top_k=2, top_p=0.6)[0] == [1, 0, 0, 0]
    # At a temperature of 1/2 probabilities are squared: 0.25 / 0.365 is more than 0.6.
    assert kept(temperature=0.5, top_p=0.6)[0] == [1, 0, 0, 0]
    assert_close(likeliest(logits, 2.0, 0, 1.0), logits / 2, rtol=1e-6)


def test_samples_are_drawn_from_the_model_s_probabilities():
    model = LanguageModel(WORDS, features=4, layers=1)
    variables = jax.tree.map(lambda leaf: 0.5 * leaf, drawn(model))
    prompt = jnp.tile(jnp.asarray(TOKENS[:1]), (4000, 1))
    drawn_tokens = sample(model, variables, prompt, jax.random.key(0), length=2, temperature=0.7)
    assert drawn_tokens.shape == (4000, 2)
    logits = model.apply(variables, TOKENS[:1])[0][0, -1]
    expected = np.asarray(jax.nn.softmax(logits / 0.7))
    counts = np.bincount(drawn_tokens[:, 0], minlength=WORDS) / 4000
    assert np.abs(counts - expected).max() < 4 * 0.5 / 4000**0.5
    # The second token depends on the first.
    first = int(np.bincount(drawn_tokens[:, 0]).argmax())
    longer = np.append(TOKENS[0], first)[None]
    expected = np.asarray(jax.nn.softmax(model.apply(variables, longer)[0][0, -1] / 0.7))
    chosen = drawn_tokens[drawn_tokens[:, 0] == first, 1]
    counts = np.bincount(chosen, minlength=WORDS) / len(chosen)
    assert np.abs(counts - expected).max() < 4 * 0.5 / len(chosen) ** 0.5


def test_a_temperature_of_0_is_the_likeliest_token_each_time():
    model = LanguageModel(WORDS, features=4, layers=1)
    variables = drawn(model)
    tokens = jnp.asarray(TOKENS)
    drawn_tokens = sample(model, variables, tokens, jax.random.key(0), length=4, temperature=0.0)
    for time in range(4):
        logits, _ = model.apply(variables, tokens)
        tokens = jnp.concatenate([tokens, jnp.argmax(logits[:, -1:], axis=-1)], axis=1)
        assert np.array_equal(drawn_tokens[:, time], tokens[:, -1])
    with pytest.raises(ConfigError, match=r"the prompt needs a token at least.*\(1, 0\)"):
        sample(model, variables, tokens[:1, :0], jax.random.key(0), length=1)
    with pytest.raises(ConfigError, match="top_p=0"):
        sample(model, variables, tokens, jax.random.key(0), length=1, top_p=0)
