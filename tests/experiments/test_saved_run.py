import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import cnn_jax
from cnn_jax import description, load_run
from cnn_jax.description import DescriptionError
from cnn_jax.durable import DamagedFile, read_record, write_kept_record
from cnn_jax.errors import ConfigError, UserError
from cnn_jax.run_record import NoRunRecord
from cnn_jax.tasks import Reconstruction
from cnn_jax.training import Checkpoints, OptimizerConfig, TrainingConfig, train
from experiments import autoencoder, linear_features, mlp_regression
from experiments.tools.describe_run import describe_networks
from experiments.tools.networks import NetworkConfig, load_network
from experiments.tools.run_directory import claim, identity
from experiments.tools.same_run import RunDirectoryError
from tests.training.small import one_device


def start(module, config, directory, *members, seed=0):
    """Train members of an experiment's study, as its command does; the results by name."""
    built = module.build(config)
    study = built if isinstance(built, dict) else {"": built}
    data = {"name": "digits", "title": "digits"}
    name = module.__name__.rpartition(".")[2]
    claim(directory, identity(name, config, seed, data), describe_networks(study, config))
    results = {}
    for member in members:
        results[member] = train(
            study[member], directory / member, one_device(), seed=seed, title="", earlier=results
        )
    return results


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps with a moving average: its directory and its result."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    training = TrainingConfig(
        duration="3 steps",
        batch_size=64,
        ema_decay=0.5,
        save_every="1 step",
        evaluate_every="2 steps",
    )
    config = replace(linear_features.SMOKE, training=training)
    return directory, start(linear_features, config, directory, "", seed=3)[""]


@pytest.fixture
def copied(trained, tmp_path):
    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


def change(directory, **entries):
    path = directory / "config.json"
    write_kept_record(path, read_record(path) | entries)


def test_a_run_comes_back_to_the_bit(trained):
    directory, result = trained
    network = load_run(directory)
    assert network.task == result.experiment.task and network.model == network.task.model
    jax.tree.map(np.testing.assert_array_equal, network.variables, result.variables)
    assert network.class_names == tuple("0123456789")
    assert network.title == "linear_features/run, handwritten digits 8x8, 3 steps"
    dataset = result.experiment.dataset
    image = dataset.splits["test"][0]["image"]
    inputs = network.preprocessing(np.repeat(image, 3, axis=-1))
    assert inputs.shape == dataset.image_shape == network.preprocessing.image_shape
    logits = network.model.apply(network.variables, inputs[None])
    np.testing.assert_allclose(logits[0], result.outputs("test")[0], rtol=1e-4, atol=1e-4)
    devices = {leaf.devices().pop() for leaf in jax.tree.leaves(network.variables)}
    assert devices == {jax.devices()[0]}


def test_weights_that_are_not_finite_are_named(trained, tmp_path):
    directory, result = trained
    network = read_record(directory / "config.json")["networks"][""]
    kernel, bias = (np.array(result.variables["params"]["head"][n]) for n in ("kernel", "bias"))
    kernel[0, :2], bias[:] = np.nan, np.inf
    claim(tmp_path, identity("mine", {}, 0, {}), {"": network})
    checkpoints = Checkpoints(tmp_path / "checkpoints", best_metric="accuracy")
    params = {"head": {"kernel": kernel, "bias": bias}}
    checkpoints.save(1, {"state": {"params": params, "model_state": {}}})
    checkpoints.close()
    named = (
        r"1 steps, are not finite: params/head/bias has 10 of 10 .*; params/head/kernel has 2 of"
    )
    with pytest.warns(UserWarning, match=named):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("part", "description", "message"),
    [
        ("preprocessing", {"std": [0.0]}, r"Preprocessing refuses .*\.std must be more than 0"),
        ("task", {"label_smoothing": 5.0}, "Classification refuses the fields .* got 5.0"),
    ],
)
def test_stored_values_that_are_refused_today(copied, part, description, message):
    networks = read_record(copied / "config.json")["networks"]
    networks[""][part]["fields"] |= description
    change(copied, networks=networks)
    with pytest.raises(DescriptionError, match=message):
        load_run(copied)


def test_a_task_that_is_none_is_told(copied):
    networks = read_record(copied / "config.json")["networks"]
    networks[""]["task"] = networks[""]["preprocessing"]
    change(copied, networks=networks)
    with pytest.raises(NoRunRecord, match="Preprocessing is no task"):
        load_run(copied)


def kernel(network):
    return np.asarray(network.variables["params"]["head"]["kernel"])


def best_step(result):
    rows = [row for row in result.rows if row["split"] == "validation"]
    first, second = (row["accuracy"] for row in rows)
    assert first != second
    return rows[first < second]["step"]


def test_a_checkpoint_can_be_named(trained):
    directory, result = trained
    last, second = load_run(directory, "last"), load_run(directory, 2)
    assert last.title.endswith(", 3 steps") and ", step 2 of 3" in second.title
    assert not np.array_equal(kernel(last), kernel(second))
    best = load_run(directory, best_step(result))
    np.testing.assert_array_equal(kernel(load_run(directory, "best")), kernel(best))
    assert load_run(directory, "best").title.endswith(", the best")
    with pytest.raises(UserError, match=r"has no checkpoint 7; there are 2, 3"):
        load_run(directory, 7)


def test_without_a_name_it_is_the_one_of_the_runs_table(copied):
    assert load_run(copied).title.endswith(", 3 steps")  # an unfinished run has no table
    write_kept_record(copied / "summary.json", {"weights_step": 2})
    np.testing.assert_array_equal(kernel(load_run(copied)), kernel(load_run(copied, 2)))
    # Since then the run was trained for longer, but not to its end.
    write_kept_record(copied / "summary.json", {"weights_step": 1})
    assert load_run(copied).title.endswith(", 3 steps")


@pytest.mark.parametrize("flag", ["", "last", "best", "2"])
def test_the_flag_names_a_checkpoint_of_a_run(trained, flag):
    directory, result = trained
    step = {"": 3, "last": 3, "best": best_step(result), "2": 2}[flag]
    network = load_network(NetworkConfig(run=str(directory), checkpoint=flag))
    np.testing.assert_array_equal(kernel(network), kernel(load_run(directory, step)))


def test_a_file_is_no_checkpoint_of_a_run(trained):
    with pytest.raises(ConfigError, match="x.pth with --run: expected best, last or the number"):
        load_network(NetworkConfig(run=str(trained[0]), checkpoint="x.pth"))


def damaged(directory, step):
    files = (directory / "checkpoints" / str(step) / "arrays" / "d").iterdir()
    path = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_the_newest_whole_checkpoint_is_loaded_and_nothing_changed(copied):
    damaged(copied, 3)
    before = contents(copied)
    for checkpoint in ("reported", "last"):
        with pytest.warns(UserWarning, match="step 3 is damaged .*the newest whole one, of step 2"):
            network = load_run(copied, checkpoint)
        assert network.title.endswith("step 2 of 3, the best (that of 3 is damaged)") or (
            network.title.endswith("step 2 of 3 (that of 3 is damaged)")
        )
        np.testing.assert_array_equal(kernel(network), kernel(load_run(copied, 2)))
    # What is asked for by its number is that one or none.
    with pytest.raises(DamagedFile, match="step 3 is damaged: .*has changed.*those of 2 are whole"):
        load_run(copied, 3)
    damaged(copied, 2)
    with pytest.raises(DamagedFile, match="step 3 is damaged"):
        load_run(copied)
    damaged(copied, 2)  # once more is whole again
    assert contents(copied) == before


def test_another_one_does_not_become_the_best_by_damage(copied):
    next(copied.glob("checkpoints/*/evaluation.json")).write_text("{}")
    with pytest.raises(DamagedFile, match="evaluation.json has changed"):
        load_run(copied, "best")


def test_the_copies_of_damaged_json_are_read(copied):
    write_kept_record(copied / "summary.json", {"weights_step": 2})
    expected = load_run(copied)
    for name in ("config.json", "summary.json"):
        (copied / name).write_bytes(b"")
        with pytest.warns(UserWarning, match=f"{name}: .*its copy is read instead"):
            network = load_run(copied)
        assert network.title == expected.title
        assert (copied / name).read_bytes() == b""
        (copied / name).write_bytes((copied / name.replace(".", ".copy.")).read_bytes())


def test_a_run_that_goes_on_meanwhile(copied, monkeypatch):
    """It removes the checkpoint that is being read, after it has saved newer ones."""
    checkpoints = copied / "checkpoints"
    read = Checkpoints.variables

    def removed_meanwhile(self, step):
        if (checkpoints / "3").exists():
            (checkpoints / "3").rename(checkpoints / "7")
        return read(self, step)

    monkeypatch.setattr(Checkpoints, "variables", removed_meanwhile)
    assert load_run(copied, "last").title.endswith(", 7 steps")


USE = """
import sys
from pathlib import Path
package, run = sys.argv[1:]
sys.path = [package] + [path for path in sys.path if not (Path(path) / "experiments").is_dir()]
import cnn_jax
assert not any(name.startswith(("jax", "flax", "orbax")) for name in sys.modules), "not light"
network = cnn_jax.load_run(run)
print(Path(cnn_jax.__file__).parent, network.title, network.class_names, network.model)
assert not any(name.startswith("experiments") for name in sys.modules)
"""


def test_the_library_alone_loads_a_run(copied, tmp_path):
    package = tmp_path / "site"
    shutil.copytree(Path(cnn_jax.__file__).parent, package / "cnn_jax")  # what the wheel holds
    command = [sys.executable, "-I", "-c", USE, str(package), str(copied)]
    loaded = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.startswith(f"{package}/cnn_jax linear_features/copy, handwritten digits")


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("experiments", "experiments.mine.Mine .*add the checkout that holds experiments/ to PYTH"),
        ("tyro", "experiments.mine.Mine cannot be imported: No module named 'tyro'; install it"),
        ("experiments.mine", "there is no experiments.mine.Mine: the code has changed since"),
    ],
)
def test_a_class_of_an_experiment_needs_the_checkout(copied, monkeypatch, missing, message):
    networks = json.loads((copied / "config.json").read_text())["networks"]
    networks[""]["task"]["fields"]["model"]["class"] = "experiments.mine.Mine"
    change(copied, networks=networks)

    def import_module(name):
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr(description.importlib, "import_module", import_module)
    with pytest.raises(DescriptionError, match=message):
        load_run(copied)


def test_a_member_of_a_study_is_named(tmp_path):
    config = replace(
        autoencoder.SMOKE,
        convolutional=False,
        training=TrainingConfig(duration="1 step"),
        classifier_training=TrainingConfig(duration="1 step", batch_size=64),
        classifier_optimizer=OptimizerConfig(),
        optimizer=OptimizerConfig(),
    )
    results = start(autoencoder, config, tmp_path, "code-8", "labels-100-encoder")
    with pytest.raises(UserError, match="several networks; give one.*labels-100-encoder"):
        load_run(tmp_path)
    code = load_run(tmp_path / "code-8")
    assert isinstance(code.task, Reconstruction) and code.model.code == 8
    jax.tree.map(np.testing.assert_array_equal, code.variables, results["code-8"].variables)
    with pytest.raises(ConfigError, match="expected a classifier of images, got .* Reconstruction"):
        load_network(NetworkConfig(run=str(tmp_path / "code-8")))
    # Its start was taken from an earlier member, which need not be there any more.
    shutil.rmtree(tmp_path / "code-8" / "checkpoints")
    network = load_run(tmp_path / "labels-100-encoder")
    expected = results["labels-100-encoder"].variables
    jax.tree.map(np.testing.assert_array_equal, network.variables, expected)
    assert network.preprocessing.mean == (0.0,)
    with pytest.raises(UserError, match="code-8 has saved nothing yet"):
        load_run(tmp_path / "code-8")


def test_a_network_without_images_comes_back(tmp_path):
    config = replace(mlp_regression.SMOKE, training=TrainingConfig("1 step", 16))
    study = mlp_regression.build(config)
    member = next(iter(study)) if isinstance(study, dict) else ""
    result = start(mlp_regression, config, tmp_path, member)[member]
    network = load_run(tmp_path / member)
    assert network.preprocessing is None and network.class_names == ()
    jax.tree.map(np.testing.assert_array_equal, network.variables, result.variables)
    points = result.experiment.dataset.splits["train"].arrays["image"][:2]
    assert network.model.apply(network.variables, jax.numpy.asarray(points)).shape == (2, 1)


def test_what_is_no_run_is_said(trained, tmp_path):
    directory, _ = trained
    with pytest.raises(UserError, match="no run in .*nowhere: config.json is missing$"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"missing; it contains the runs run$"):
        load_run(directory.parent)
    with pytest.raises(UserError, match="has no 'checkpoints'; it has no members"):
        load_run(directory / "checkpoints")


def test_nothing_saved_yet(copied):
    for step in (copied / "checkpoints").iterdir():
        shutil.rmtree(step)
    with pytest.raises(UserError, match="saved nothing yet: .*is empty"):
        load_run(copied)
    (copied / "checkpoints").rmdir()
    with pytest.raises(UserError, match="saved nothing yet: .*is missing"):
        load_run(copied)
    assert not (copied / "checkpoints").exists()


def test_a_sweep_that_has_not_ended_is_said(copied):
    change(copied, sweep=[0.1, 0.2])
    assert load_run(copied).title.endswith("3 steps")
    shutil.rmtree(copied / "checkpoints")
    with pytest.raises(UserError, match="a sweep over learning rates that has not ended"):
        load_run(copied)


@pytest.mark.parametrize("text", ["no json", "[1]", "{}"])
def test_a_damaged_config_is_said(copied, text):
    (copied / "config.json").write_text(text)
    (copied / "config.copy.json").unlink()
    with pytest.raises(UserError, match=r"config.json(: | is not one of a run)"):
        load_run(copied)


def test_a_run_of_an_older_version_is_told_the_way_out_which_works(copied):
    saved = read_record(copied / "config.json")
    change(copied, networks={}, git_commit="1234abc")
    with pytest.raises(UserError, match="'networks' is missing.* 1234abc. Start the run's"):
        load_run(copied)
    older = {name: value for name, value in saved.items() if name != "networks"}
    write_kept_record(copied / "config.json", older)
    same = {name: saved[name] for name in ("experiment", "config", "seed", "data")}
    claim(copied, same, saved["networks"])
    assert read_record(copied / "config.json") == saved
    assert load_run(copied).class_names == tuple("0123456789")


def test_a_class_that_is_gone_is_said(copied):
    networks = json.loads((copied / "config.json").read_text())["networks"]
    networks[""]["task"]["fields"]["model"]["class"] = "cnn_jax.models.simple_cnn.Gone"
    change(copied, networks=networks)
    with pytest.raises(DescriptionError, match="no cnn_jax.models.simple_cnn.Gone: the code has"):
        load_run(copied)


@pytest.mark.parametrize(
    ("entry", "value", "line"),
    [
        ("examples", {"train": 5, "validation": 2}, "data.examples.test: there 'not there', asked"),
        ("class_names", list("012345678x"), r"data.class_names.9: there 'x', asked '9'"),
        ("class_names", list("012"), r"data.class_names.3: there 'not there', asked '3'"),
        ("mean", [0.75], r"data.mean: there .0.75., asked .0\.\d+."),
        ("spec", {}, "data.spec.image: there 'not there', asked {'shape': .8, 8, 1., "),
    ],
)
def test_a_run_whose_data_have_changed_is_not_resumed(copied, entry, value, line):
    saved = json.loads((copied / "config.json").read_text())
    same = {name: saved[name] for name in ("experiment", "config", "seed", "data")}
    claim(copied, same, saved["networks"])
    now = saved["networks"]
    before = json.loads(json.dumps(now))
    before[""]["data"][entry] = value
    change(copied, networks=before)
    with pytest.raises(RunDirectoryError, match=line) as error:
        claim(copied, same, now)
    message = str(error.value)
    assert "was trained on data that have changed" in message and "--overwrite" in message
