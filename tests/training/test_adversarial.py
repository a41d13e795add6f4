"""The program of two networks: PyTorch's updates, resume, devices, what it refuses."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn_jax.data import Dataset
from cnn_jax.models import GAN, DCGANDiscriminator, DCGANGenerator, SimpleCNN
from cnn_jax.pretrained import to_torch
from cnn_jax.tasks import Adversarial
from cnn_jax.training import (
    Experiment,
    OptimizerConfig,
    TrainingConfig,
    adversarial,
    prepare_run,
)
from tests.probes.checks import check_devices, check_resume
from tests.tolerance import assert_close
from tests.training.small import blobs, make_parallel, one_device, wide

SHAPE, LATENT, WIDTH = (8, 8, 1), 3, 2
ADAM = OptimizerConfig(name="adam", learning_rate=2e-3, momentum=0.5)
FAST = replace(ADAM, learning_rate=4e-3)


def dataset(train: int = 64, validation: int = 21) -> Dataset:
    splits = {"train": blobs(0, train), "validation": blobs(1, validation)}
    names = tuple("abcd")
    return Dataset("blobs", "blobs", splits, names, mean=(0.5,), std=(0.5,))


def make(
    *, steps: int = 1, norm: Any = "batch", classes: int = 0, task: Any = None, **training: Any
) -> Experiment:
    model = GAN(
        DCGANGenerator(SHAPE, LATENT, WIDTH, num_classes=classes),
        DCGANDiscriminator(SHAPE, WIDTH, num_classes=classes, norm=norm),
    )
    settings = {"duration": "6 steps", "batch_size": 32, "log_every": "3 steps"} | training
    return Experiment(
        dataset=dataset(),
        task=Adversarial(model, **(task or {})),
        optimizer=ADAM,
        program=adversarial(FAST, steps),
        training=TrainingConfig(**settings),
    )


SEVERAL = make(
    steps=2,
    norm="spectral",
    classes=4,
    task={"loss": "hinge", "penalty": "r1", "classifier": SimpleCNN((3,), num_classes=4)},
    ema_decay=0.9,
)


def test_resume(tmp_path, monkeypatch):
    result = check_resume(SEVERAL, tmp_path, monkeypatch, stop=4)
    variables = result.variables
    assert variables["params"].keys() == {"generator", "discriminator"}
    assert variables.keys() == {"params", "batch_stats", "spectral_norm", "constants"}
    assert result.outputs("validation").shape == (21, *SHAPE)
    last = result.rows[-1]
    assert result.metrics == SEVERAL.task.metrics and set(result.metrics) <= last.keys()
    assert all(np.isfinite(last[name]) for name in result.metrics)
    assert "grad_norm/discriminator" in result.rows[0]


def test_devices_agree(tmp_path):
    check_devices(SEVERAL, tmp_path)


def start(experiment: Experiment, parallel: Any = None, seed: int = 0) -> Any:
    _, runner = prepare_run(experiment, parallel or one_device(), seed=seed)
    return runner, runner.init(wide if jax.config.jax_enable_x64 else lambda v: v)


def test_the_classifier_is_not_trained_and_only_the_generator_is_averaged():
    runner, state = start(SEVERAL)
    before = jax.tree.map(np.asarray, state.model_state["constants"])
    first = jax.tree.map(np.asarray, state.params)
    state, _ = runner.advance(state, runner.zero_sums(state), 1)
    jax.tree.map(np.testing.assert_array_equal, state.model_state["constants"], before)
    assert state.ema.keys() == {"generator"}
    # After the first step the average has a tenth of the old parameters.
    expected = jax.tree.map(
        lambda old, new: 0.1 * old + 0.9 * new, first["generator"], state.params["generator"]
    )
    assert_close(state.ema["generator"], expected, rtol=1e-5)


def test_steps_are_those_of_pytorch_s_example():
    """Two steps with our images and noise: parameters, statistics and losses."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tests.models import torch_gans

    experiment = make(batch_size=8)
    task = experiment.task
    with jax.enable_x64(True):
        runner, state = start(experiment)
        networks = {
            "generator": torch_gans.dcgan_generator(SHAPE, LATENT, WIDTH),
            "discriminator": torch_gans.dcgan_discriminator(SHAPE, WIDTH),
        }
        ours = {"generator": task.model.generator, "discriminator": task.model.discriminator}

        def of(name: str, state: Any) -> dict[str, Any]:
            statistics = state.model_state["batch_stats"].get(name)
            variables = {"params": state.params[name]}
            variables |= {"batch_stats": statistics} if statistics else {}
            named = to_torch(ours[name], variables)
            return {n: array for n, array in named.items() if not n.endswith("tracked")}

        for name, network in networks.items():
            loaded = {n: torch.from_numpy(array) for n, array in of(name, state).items()}
            network.load_state_dict(loaded, strict=False)
        rates = {"generator": 2e-3, "discriminator": 4e-3}
        rules = {
            name: torch.optim.Adam(network.parameters(), rates[name], betas=(0.5, 0.999))
            for name, network in networks.items()
        }
        split = experiment.dataset.splits["train"]
        order = split.order(0, 0, 8)
        made, judged = (networks[name].main for name in ("generator", "discriminator"))
        softplus = torch.nn.functional.softplus
        for number in range(2):
            places = np.asarray(order[8 * number : 8 * number + 8])
            # As the program derives it.
            key = jax.random.split(jax.random.fold_in(state.key, number))[1]
            (key,) = jax.random.split(key, 1)
            noise = np.array(task.latents(key, {"place": jnp.asarray(places)}))
            real = torch.from_numpy(split.arrays["image"][places] / 255.0 * 2 - 1)
            # In float32, as batches are made.
            real = real.float().double().permute(0, 3, 1, 2)
            fake = made(torch.from_numpy(noise)[..., None, None])
            rules["discriminator"].zero_grad()
            loss = softplus(-judged(real)).mean() + softplus(judged(fake.detach())).mean()
            loss.backward()
            rules["discriminator"].step()
            rules["generator"].zero_grad()
            of_generator = softplus(-judged(fake)).mean()
            of_generator.backward()
            rules["generator"].step()
            state, sums = runner.advance(state, runner.zero_sums(state), 1)
            assert_close(sums["discriminator_loss"] / 8, loss.item(), rtol=1e-6)
            assert_close(sums["loss"] / 8, of_generator.item(), rtol=1e-6)
        for name, network in networks.items():
            theirs = {
                n: value.detach().numpy()
                for n, value in network.state_dict().items()
                if not n.endswith("tracked")
            }
            assert_close(of(name, state), theirs, rtol=1e-6)


@pytest.mark.usefixtures("no_shape_hook")
def test_messages():
    with pytest.raises(ValueError, match="at least once a step, got 0"):
        adversarial(ADAM, 0)
    with pytest.raises(ValueError, match="32 images .* cannot be divided into 3 updates"):
        runner, state = start(make(steps=3))
        runner.zero_sums(state)
    with pytest.raises(ValueError, match="use --training.accumulate 1, no"):
        start(make(accumulate=2))
    experiment = make()
    with pytest.raises(ValueError, match="conditional on 3 classes, and blobs has 4"):
        start(make(classes=3))
    with pytest.raises(ValueError, match=r"in \[-1, 1\], and those of blobs are normalized"):
        start(replace(experiment, dataset=replace(dataset(), mean=(0.3,))))
    other = Adversarial(GAN(DCGANGenerator((16, 16, 1)), DCGANDiscriminator((16, 16, 1))))
    with pytest.raises(ValueError, match=r"images of \(16, 16, 1\), and those of blobs have"):
        start(replace(experiment, task=other))


def test_a_discriminator_that_has_won_is_told_once(tmp_path):
    from rich.console import Console

    from cnn_jax.training import train

    experiment = make(duration="3 steps", log_every="1 step")
    certain = {"loss": 9.0, "discriminator_loss": 1e-4, "real_logit": 9.0, "fake_logit": -9.0}
    assert experiment.task.remark(certain | {"discriminator_loss": 0.5}) == ""

    class Won(Adversarial):
        def summarize(self, sums: Any) -> dict[str, float]:
            return certain

    console = Console(record=True, width=400)
    won = replace(experiment, task=Won(experiment.task.model))
    train(won, tmp_path, make_parallel(), console=console)
    shown = console.export_text()
    assert shown.count("at step 1 the discriminator has won: its loss is 0.0001") == 1
    assert shown.count("has won") == 1
