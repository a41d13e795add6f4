"""Stages, what trains in them, and where the first weights come from."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from cnn_jax import load_run, pretrained
from cnn_jax.data import DataConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models import create_model
from cnn_jax.pretrained import Network, Preprocessing
from cnn_jax.tasks import Classification
from cnn_jax.training import OptimizerConfig, TrainingConfig, train
from experiments import autoencoder, finetune, linear_features
from experiments.finetune import Config, build, compare
from experiments.tools.describe_run import describe_networks
from experiments.tools.run_directory import claim, identity
from experiments.tools.sources import transplanted, with_classes, with_norm
from tests.tasks.specs import image_spec
from tests.training.small import one_device

DIGITS = DataConfig(name="digits")
SHORT = TrainingConfig(duration="2 steps", batch_size=64, log_every="1 step", ema_decay=0.5)


def saved(directory, module, config, member=""):
    """A run of a few steps, on digits; its result."""
    name = module.__name__.rpartition(".")[2]
    built = module.build(config)
    one = built[member] if member else built
    claim(
        directory,
        identity(name, config, 0, {"name": "digits", "title": "digits"}),
        describe_networks({member: one}, config),
    )
    return train(one, directory / member, one_device(), seed=0, title="")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "classifier"
    config = replace(linear_features.SMOKE, training=SHORT)
    return directory, saved(directory, linear_features, config)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs") / "encoder"
    config = replace(
        autoencoder.SMOKE, training=SHORT, optimizer=OptimizerConfig(), convolutional=False
    )
    return directory / "code-8", saved(directory, autoencoder, config, "code-8")


def trained(study, tmp_path):
    results = {}
    for name, one in study.items():
        results[name] = train(
            one, tmp_path / name, one_device(), seed=1, title=name, earlier=results
        )
    return results


def bits(tree):
    return jax.tree.map(lambda a: np.asarray(a).tobytes(), tree)


def config_of(source, **changes):
    training = TrainingConfig(duration="3 steps", batch_size=64, log_every="1 step")
    common = {"data": DIGITS, "head_duration": "2 steps", "training": training}
    return Config(from_run=str(source), **(common | changes))


def test_the_head_trains_alone_then_everything(classifier, tmp_path):
    directory, source = classifier
    study = build(config_of(directory, init="compare"))
    assert list(study) == ["random", "head", "all"]
    results = trained(study, tmp_path)
    body, head = source.variables["params"]["body"], source.variables["params"]["head"]
    first, second = (results[name].variables for name in ("head", "all"))
    assert bits(first["params"]["body"]) == bits(body)
    assert bits(first["batch_stats"]) == bits(source.variables["batch_stats"])
    # Ten classes are ten others: the last layer does not stay.
    assert np.abs(first["params"]["head"]["kernel"] - head["kernel"]).max() > 0.05
    assert results["head"].summary["trained_parameters"] == sum(map(np.size, head.values()))
    # The second stage begins where the first one ended, and moves all, but no statistics.
    fresh = {"params": dict(first["params"]), "batch_stats": dict(first["batch_stats"])}
    begun = study["all"].initialize(fresh, results)
    assert bits(begun) == bits(first)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max() > 0, first["params"], second["params"])
    assert all(jax.tree.leaves(moved))
    assert bits(second["batch_stats"]) == bits(first["batch_stats"])
    # The random start has as many steps, BatchNorm of its own, and its data's own scale.
    assert results["random"].summary["step"] == 2 + 3
    changed = bits(results["random"].variables["batch_stats"])
    assert changed != bits(first["batch_stats"])
    figures = compare(results)
    assert figures.keys() == {"stages", "accuracy"}
    assert "head alone for 2 steps" in figures["stages"].get_suptitle()
    line = next(
        one for one in figures["stages"].axes[0].lines if one.get_label() == "pretrained train"
    )
    assert line.get_xdata().tolist() == [1, 2, 3, 4, 5]


def test_batch_norm_in_the_second_stage_is_a_choice(classifier):
    directory, source = classifier
    study = build(config_of(directory, init="run", norm="batch"))
    assert list(study) == ["head", "all"]
    assert [one.task.model.norm for one in study.values()] == ["frozen", "batch"]
    scale = source.experiment.dataset.mean, source.experiment.dataset.std
    assert all((one.dataset.mean, one.dataset.std) == scale for one in study.values())
    assert study["head"].trainable("head/kernel") and not study["head"].trainable("body/head")
    assert study["all"].trainable is None


def test_numbers_of_labels_are_compared(classifier):
    directory, _ = classifier
    study = build(config_of(directory, init="compare", labels=(64, 128)))
    assert [*study][:4] == [
        "labels-64-random",
        "labels-64-head",
        "labels-64-all",
        "labels-128-random",
    ]
    sizes = [len(one.dataset.splits["train"]) for one in study.values()]
    assert sizes == [64] * 3 + [128] * 3


def test_an_encoder_becomes_a_body(encoder, tmp_path):
    directory, source = encoder
    results = trained(build(config_of(directory, init="run")), tmp_path)
    first = results["head"].variables["params"]
    assert bits(first["body"]) == bits(source.variables["params"]["encoder"])
    assert results["head"].summary["trained_parameters"] == 8 * 10 + 10
    other = config_of(directory, init="run", data=replace(DIGITS, image_size=16))
    one = build(other)["head"]
    with pytest.raises(ConfigError, match=r"for images of shape \(8, 8, 1\).*--data.image-size"):
        one.initialize({"params": {}}, {})


def test_a_file_is_a_source(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model = create_model("lenet5", num_classes=7)
    images = np.zeros((1, 28, 28, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    numpy.save_file(pretrained.to_torch(model, variables), tmp_path / "mine.safetensors")
    config = Config(
        model="lenet5",
        checkpoint=str(tmp_path / "mine.safetensors"),
        data=replace(DIGITS, image_size=28),
        mean=(0.3, 0.4, 0.5),
        std=(0.1, 0.2, 0.3),
    )
    one = build(config)["head"]
    # Gray digits stay gray: the sum of the kernels sees them, in the average of the scales.
    assert one.dataset.image_shape == (28, 28, 1)
    assert one.dataset.mean == pytest.approx((0.4,)) and one.dataset.std == pytest.approx((0.2,))
    (note,) = (note for note in one.dataset.notes if "channels" in note)
    assert "lenet5, mine.safetensors was trained on 3 channels" in note and "is summed" in note
    fresh, _ = one.task.init(jax.random.key(1), one.dataset.spec)
    begun = one.initialize({"params": fresh}, {})["params"]
    old, new, begun = (flatten_dict(tree, sep="/") for tree in (variables["params"], fresh, begun))
    taken = {path for path in begun if bits(begun[path]) == bits(old[path])}
    drawn = {path for path in begun if bits(begun[path]) == bits(new[path])}
    # Of the head, too, only the last layer is new.
    assert drawn == {path for path in begun if path.startswith("head/fc3/")}
    assert taken == begun.keys() - drawn - {"body/conv1/kernel"}
    summed = old["body/conv1/kernel"].sum(axis=2, keepdims=True)
    np.testing.assert_allclose(begun["body/conv1/kernel"], summed, rtol=1e-6)


def test_a_body_without_a_head_is_a_source(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model = create_model("cifar_resnet20")
    variables = jax.jit(model.init)(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    state = pretrained.to_torch(model, variables)
    body = {f"encoder_q.{name}": v for name, v in state.items() if not name.startswith("fc.")}
    body |= {f"encoder_k.{name}": -v for name, v in state.items() if v.ndim}
    numpy.save_file(body, tmp_path / "moco.safetensors")
    config = Config(
        model="cifar_resnet20", checkpoint=str(tmp_path / "moco.safetensors"), data=DIGITS
    )
    with pytest.raises(ConfigError, match=r"are with the prefix 'encoder_[qk].'.*--prefix"):
        build(config)
    one = build(replace(config, prefix="encoder_q."))["head"]
    fresh, state = one.task.init(jax.random.key(1), one.dataset.spec)
    begun = one.initialize({"params": fresh, **state}, {})["params"]
    assert bits(begun["head"]) == bits(fresh["head"])
    kernels = (tree["body"]["stage3_block1"]["conv1"] for tree in (begun, variables["params"]))
    assert bits(next(kernels)) == bits(next(kernels))


def test_images_of_four_channels_are_learned(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model = create_model("lenet5", num_classes=7)
    images = np.zeros((1, 28, 28, 3), np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), images)
    numpy.save_file(pretrained.to_torch(model, variables), tmp_path / "mine.safetensors")
    random = np.random.default_rng(0)
    np.savez(
        tmp_path / "data.npz",
        train_images=random.integers(256, size=(64, 28, 28, 4), dtype=np.uint8),
        train_labels=random.integers(3, size=64).astype(np.int32),
    )
    config = Config(
        model="lenet5",
        checkpoint=str(tmp_path / "mine.safetensors"),
        data=DataConfig(name=str(tmp_path / "data.npz")),
        head_duration="1 step",
        training=TrainingConfig(duration="1 step", batch_size=32, log_every="1 step"),
    )
    head = build(config)["head"]
    kernel = trained({"head": head}, tmp_path)["head"].variables["params"]["body"]["conv1"][
        "kernel"
    ]
    old = np.asarray(variables["params"]["body"]["conv1"]["kernel"])
    expected = old[:, :, [0, 1, 2, 0]] * 3 / 4
    np.testing.assert_allclose(kernel, expected, rtol=1e-5)


def test_a_random_start_needs_no_weights():
    study = build(finetune.SMOKE)
    assert list(study) == ["random"]
    assert study["random"].training.duration == "12 steps"
    assert study["random"].dataset.image_shape == (28, 28, 1)
    assert compare({"random": None}) == {}


def test_frozen_statistics_of_nothing_are_not_kept():
    config = Config(init="random", model="simple_cnn", data=DIGITS)
    assert build(config)["random"].task.model.norm == "batch"
    without = create_model("vgg11", num_classes=3)
    assert with_norm(without, "frozen") == without


def test_flags_that_contradict_each_other_are_said(classifier):
    with pytest.raises(ConfigError, match="--init run needs the run's directory"):
        build(Config(init="run", data=DIGITS))
    with pytest.raises(ConfigError, match="--from-run needs --init run"):
        build(config_of(classifier[0], init="weights"))
    with pytest.raises(ConfigError, match="did you mean"):
        build(Config(model="resnot18", data=DIGITS))


def test_a_body_that_does_not_fit_is_said():
    model = create_model("simple_cnn", num_classes=4)
    source = Network(model, {"params": {"body": {}}}, Preprocessing(), (), "a run")
    params, state = Classification(model).init(jax.random.key(0), image_spec((8, 8, 3)))
    with pytest.raises(ConfigError, match=r"a run does not fit .*\n  params/body/.*: missing, exp"):
        transplanted(source, {"params": params, **state}, (8, 8, 3))


def test_a_network_of_another_kind_is_no_source(classifier):
    network = load_run(classifier[0])
    message = "linear_features.*: expected a classifier of images with body and head or an auto"
    for change in ({"variables": {"params": {"Dense_0": {}}}}, {"preprocessing": None}):
        with pytest.raises(ConfigError, match=message):
            with_classes(replace(network, **change), 3)
