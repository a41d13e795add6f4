"""The speedrun: its files, views and optimizer; runs that share programs and nothing else."""

import csv
import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn_jax.data import ArraySplit, DataConfig, Dataset, RandomFlip
from cnn_jax.models import create_model
from cnn_jax.training import airbench_muon, make_parallel
from experiments import cifar_speedrun
from experiments.cifar_speedrun import CPU, RECORD, SMOKE, Config, load, main, run_statistics
from experiments.tools import speedrun
from experiments.tools.process_time import seconds_since_start
from experiments.tools.speedrun import (
    Run,
    SpeedrunConfig,
    make_speedrun,
    make_speedrun_optimizer,
    viewed,
)
from tests.tolerance import assert_close


def test_a_run_leaves_its_files(start, tmp_path, capsys):
    start("cifar_speedrun", "--smoke")
    (directory,) = (tmp_path / "cifar_speedrun").iterdir()
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["runs"] == 2 and 0 < summary["accuracy, plain"]["mean"] <= 1
    assert summary["seconds_from_process_start"] > summary["seconds"]["least"]
    with (directory / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["1", "2"]
    mean = np.mean([float(row["plain"]) for row in rows])
    assert mean == pytest.approx(summary["accuracy, plain"]["mean"])
    # Other runs, not the same one again.
    assert rows[0]["loss"] != rows[1]["loss"]
    assert (directory / "accuracies.png").stat().st_size > 10_000
    config = json.loads((directory / "config.json").read_text())["config"]
    # A mirror image of a digit is none.
    assert config["training"]["views"] == "plain" and config["recipe"] == "record"
    shown = capsys.readouterr().out
    assert "no random_flip" in shown and "handwritten digits" in shown


def test_a_run_does_not_depend_on_those_before_it():
    config, dataset = load(SMOKE)
    shared = make_speedrun(config.training, dataset, make_parallel("jit"), seed=0)
    states = [shared.advance(shared.fresh(run), 2)[0] for run in (1, 0, 1)]
    first, other, again = (jax.tree.map(np.asarray, state.params) for state in states)
    assert_close(again, first, rtol=0, atol=0)
    assert np.any(other["head"]["kernel"] != first["head"]["kernel"])
    # The whitening is computed of the training images, and no step changes it.
    kernel = states[0].model_state["constants"]["body"]["whiten"]["kernel"]
    assert_close(kernel, states[1].model_state["constants"]["body"]["whiten"]["kernel"], rtol=1e-6)
    assert np.abs(np.asarray(kernel)).max() > 1


def test_every_image_is_mirrored_in_one_of_two_epochs(monkeypatch):
    # Images whose left half is bright, and a step that looks at what it is given.
    images = np.zeros((32, 16, 16, 3), np.uint8)
    images[:, :, :8] = 200
    split = ArraySplit({"image": images, "label": np.zeros(32, np.int32)})
    dataset = Dataset(
        name="halves",
        title="halves",
        splits={"train": split, "test": split},
        class_names=("a", "b"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        augment=(RandomFlip(),),
    )

    def looking(loss_fn, optimizer, *, preprocess):
        def step(state, batch):
            mirrored = batch["image"][:, 0, 0, 0] == 0
            seen = jnp.zeros(32, jnp.int32).at[batch["place"]].set(mirrored.astype(jnp.int32))
            return state.replace(step=state.step + 1), {"mirrored": seen, "of": batch["weight"]}

        return step

    monkeypatch.setattr(speedrun, "make_train_step", looking)
    settings = replace(SMOKE.training, epochs=1, batch_size=16)
    shared = make_speedrun(settings, dataset, make_parallel("jit"), seed=0)
    state, counts = shared.fresh(0), []
    for _ in range(4):
        state, sums = shared.advance(state, shared.steps)
        counts.append(np.asarray(sums["mirrored"]))
    assert 5 < counts[0].sum() < 27
    for epoch in range(4):
        assert np.array_equal(counts[epoch], counts[0] if epoch % 2 == 0 else 1 - counts[0])


IMAGES = np.random.default_rng(0).normal(size=(3, 6, 5, 2))


def of_pixels(images):
    """Outputs that depend on where pixels are."""
    weight = np.arange(60.0).reshape(6, 5, 2)
    return jnp.einsum("nhwc,hwc->n", images, weight)[:, None]


def test_views_are_weighed_as_the_record_does():
    with jax.enable_x64(True):
        found = viewed(of_pixels, jnp.asarray(IMAGES), "mirror_translate")
        padded = np.pad(IMAGES, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
        views = {
            (start, flip): of_pixels(padded[:, start : start + 6, start : start + 5][:, :, ::flip])
            for start in (0, 1, 2)
            for flip in (1, -1)
        }
        shares = {0: 1 / 8, 1: 1 / 4, 2: 1 / 8}
        expected = sum(shares[start] * view for (start, _), view in views.items())
        assert_close(found["mirror_translate"], expected)
        assert_close(found["mirror"], (views[1, 1] + views[1, -1]) / 2)
        assert_close(found["plain"], views[1, 1])


@pytest.mark.parametrize("views", ["plain", "mirror", "mirror_translate"])
def test_no_more_views_are_evaluated_than_asked_for(views):
    calls = []

    def outputs(images):
        calls.append(images.shape)
        return of_pixels(images)

    found = viewed(outputs, jnp.asarray(IMAGES, jnp.float32), views)
    assert list(found)[-1] == views
    assert calls == [IMAGES.shape] * {"plain": 1, "mirror": 2, "mirror_translate": 6}[views]


SETTINGS = SpeedrunConfig(epochs=2, whitening_epochs=1, batch_size=50, precision="float32")


def test_every_parameter_has_its_rule():
    """Against the record's formulas, which are of the sum of the losses."""
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        params = {
            "body": {
                "whiten": {"bias": rng.normal(size=4)},
                "norm": {"bias": rng.normal(size=3)},
                "conv": {"kernel": rng.normal(size=(3, 3, 4, 3))},
            },
            "head": {"kernel": rng.normal(size=(3, 2))},
        }
        params = jax.tree.map(jnp.asarray, params)
        optimizer = make_speedrun_optimizer(SETTINGS, steps_per_epoch=3)
        state = optimizer.init(params)
        filters = airbench_muon(lambda step: 0.24 * (1 - step / 6), momentum=0.6)
        filter_state = filters.init(params["body"]["conv"])

        decay = 2e-6 * 50
        by_sgd = {("body", "whiten", "bias"): (0.053, 3), ("body", "norm", "bias"): (0.053, 6)}
        by_sgd[("head", "kernel")] = (0.67, 6)
        expected = {}
        for path in by_sgd:
            leaf = params
            for name in path:
                leaf = leaf[name]
            expected[path] = np.asarray(leaf)
        buffers = dict.fromkeys(by_sgd, 0.0)
        for step in range(5):
            gradients = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape)), params)
            conv, filter_state = filters.update(
                gradients["body"]["conv"], filter_state, params["body"]["conv"]
            )
            conv = optax.apply_updates(params["body"]["conv"], conv)
            updates, state = optimizer.update(gradients, state, params)
            params = optax.apply_updates(params, updates)
            # Rates are float32 in optax.
            assert_close(params["body"]["conv"], conv, rtol=1e-6)
            for path, (rate, steps) in by_sgd.items():
                leaf, gradient = params, gradients
                for name in path:
                    leaf, gradient = leaf[name], gradient[name]
                gradient = 50 * np.asarray(gradient) + decay / rate * expected[path]
                buffers[path] = 0.85 * buffers[path] + gradient
                now = rate * max(0, 1 - step / steps)
                expected[path] = expected[path] - now * (gradient + 0.85 * buffers[path])
                assert_close(leaf, expected[path], rtol=1e-6)


def test_the_optimizer_knows_every_parameter_of_the_network():
    model = create_model("cifar_airbench94")
    params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
    state = jax.eval_shape(make_speedrun_optimizer(SETTINGS, 3).init, params)
    sizes = {
        name: sum(leaf.size for leaf in jax.tree.leaves(inner) if leaf.shape)
        for name, inner in state.inner_states.items()
    }
    assert sizes == {
        "filters": 1_971_352 - 2560 - 24 - 1152,
        "biases": 1152,
        "whitening": 24,
        "head": 2560,
    }


def test_a_data_set_without_test_is_refused():
    data = DataConfig(name="digits", image_size=16, validation="none", test="none")
    with pytest.raises(ValueError, match="neither a test nor a validation split"):
        load(Config(data=data))


def test_no_runs_are_refused(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["--smoke", "--runs", "0"])
    assert exit.value.code == 2
    assert "runs must be at least 1, got 0" in capsys.readouterr().out


def test_a_recipe_gives_defaults_that_flags_change(monkeypatch):
    asked = []
    monkeypatch.setattr(cifar_speedrun, "speedrun", lambda config, console: asked.append(config))
    main([])
    main(["--recipe", "cpu"])
    main(["--training.epochs", "1", "--recipe=cpu", "--runs", "3"])
    assert asked[:2] == [RECORD, CPU]
    assert (asked[2].runs, asked[2].training.epochs, asked[2].training.batch_size) == (3, 1, 500)


def test_help_explains_every_flag(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in SpeedrunConfig.__dataclass_fields__:
        assert f"--training.{name}".replace("_", "-") in shown
    assert "This is its recipe" in shown


def test_the_summary_is_of_a_sample():
    runs = [Run(seconds, 1.0, {"plain": 0.9 + seconds / 100}) for seconds in (1.0, 2.0, 4.0)]
    summary = run_statistics(runs)
    assert summary["seconds"] == {
        "mean": pytest.approx(7 / 3),
        "deviation": pytest.approx(np.sqrt(7 / 3)),
        "least": 1.0,
        "largest": 4.0,
    }
    assert summary["accuracy, plain"]["largest"] == pytest.approx(0.94)
    assert run_statistics(runs[:1])["seconds"]["deviation"] is None


def test_the_process_has_run_for_a_while():
    before = seconds_since_start()
    assert 0 < before <= seconds_since_start() < 1e6
