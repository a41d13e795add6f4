"""The launch files are well formed, name what exists, and do what they say, with tools replaced."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "launch"
SCRIPTS = [LAUNCH / "slurm.sbatch", LAUNCH / "tpu_pod.sh"]
EXPERIMENT = "experiments.resnet_cifar --training.duration '20 epochs'"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_sound(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, script], check=True)


def test_every_file_names_an_experiment_that_exists() -> None:
    for path in [*SCRIPTS, *LAUNCH.glob("*.yaml"), LAUNCH / "Dockerfile", LAUNCH / "README.md"]:
        assert "$EXPERIMENT" in path.read_text() or path.name == "README.md"
        modules = set(re.findall(r"EXPERIMENT[:=] ?'?(experiments[\w.]*)", path.read_text()))
        assert modules, path
        assert all(importlib.util.find_spec(module) for module in modules), path


def test_the_readme_explains_every_file() -> None:
    text = (LAUNCH / "README.md").read_text()
    for path in LAUNCH.iterdir():
        if path.is_file() and path.name not in ("__init__.py", "README.md"):
            assert path.stem in text, path


def test_the_image_holds_files_that_exist_and_extras_of_the_package() -> None:
    text = (LAUNCH / "Dockerfile").read_text()
    sources = [word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()]
    assert {"cnn_jax", "experiments", "pyproject.toml"} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)
    extras = (ROOT / "pyproject.toml").read_text()
    for platform in ("cpu", "cuda", "tpu"):
        assert platform in text and re.search(rf"^{platform} = \[", extras, re.M)


def documents(name: str, **values: str) -> list[dict[str, Any]]:
    text = (LAUNCH / name).read_text()
    for variable, value in values.items():
        text = text.replace(f"${variable}", value)
    return list(yaml.safe_load_all(text))


def test_the_jobset_has_a_pod_for_each_host_and_goes_on_after_an_eviction() -> None:
    job_set, claim = documents("gke_jobset.yaml", EXPERIMENT=EXPERIMENT, IMAGE="image")
    (slices,) = job_set["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    rows, columns = pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert job["parallelism"] == job["completions"] == int(rows) * int(columns) // chips
    variables = {one["name"]: one["value"] for one in container["env"]}
    assert variables == {"EXPERIMENT": EXPERIMENT, "CNN_JAX_DISTRIBUTED": "1"}
    assert container["image"] == "image"
    saved, _ = job["podFailurePolicy"]["rules"]
    assert saved["onExitCodes"]["values"] == [75]
    assert saved["onExitCodes"]["containerName"] == container["name"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_skypilot_goes_on_with_what_was_asked_to_stop() -> None:
    (task,) = documents("skypilot.yaml")
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    for part in ("setup", "run"):
        subprocess.run(["bash", "-n", "-c", task[part]], check=True)


def test_skypilot_loads_its_task() -> None:
    sky = pytest.importorskip("sky")
    task = sky.Task.from_yaml(str(LAUNCH / "skypilot.yaml"))
    assert task.num_nodes == 2 and task.envs["PLATFORM"] == "cuda"


def program(folder: Path, name: str, body: str) -> None:
    """A program that notes its arguments, in the place of one that is not there."""
    path = folder / name
    path.write_text(f'#!/bin/bash\necho "{name} $*" >> "{folder}/calls"\n{body}\n')
    path.chmod(0o755)


def run(folder: Path, *words: str, **variables: str) -> tuple[int, list[str], str]:
    """Status, calls of the programs in the folder, and what was printed."""
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "EXPERIMENT": EXPERIMENT, **variables}
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True)
    calls = folder / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    return done.returncode, lines, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("status", "state", "again"),
    [
        (0, "RUNNING", False),
        (75, "RUNNING", True),
        (75, "COMPLETING", False),
        (1, "RUNNING", False),
    ],
)
def test_a_slurm_job_is_queued_again_where_it_was_asked_to_stop(
    tmp_path: Path, status: int, state: str, again: bool
) -> None:
    program(tmp_path, "srun", 'while [ "$1" != bash ]; do shift; done; "$@"')
    program(tmp_path, "python", f'[ "$4" = "20 epochs" ] || exit 99; exit {status}')
    program(tmp_path, "squeue", f"echo {state}")
    program(tmp_path, "scontrol", "")
    words = ("bash", str(LAUNCH / "slurm.sbatch"))
    code, calls, printed = run(tmp_path, *words, SLURM_JOB_ID="7")
    assert code == status, printed
    assert ("scontrol requeue 7" in calls) == again


TPU = {"TPU": "slice", "ZONE": "zone", "TYPE": "v6e-16", "RUNTIME": "runtime", "POLL": "0"}
GCLOUD = """
case "$*" in
    *describe*) cat "{folder}/state" 2>/dev/null || exit 1 ;;
    *create*) echo {granted} > "{folder}/state" ;;
    *queued-resources*delete*) rm "{folder}/state" ;;
esac
"""


def steps(calls: list[str]) -> list[str]:
    """The verbs of the calls that change something."""
    kinds = ("queued-resources create", "queued-resources delete", "scp --recurse", "scp", "ssh")
    found = [next((kind for kind in kinds if kind in call), "") for call in calls]
    return [kind.rpartition("queued-resources ")[2] for kind in found if kind]


@pytest.mark.parametrize("before", ["", "ACTIVE", "SUSPENDED"])
def test_a_tpu_slice_is_created_or_taken_used_and_deleted(tmp_path: Path, before: str) -> None:
    program(tmp_path, "gcloud", GCLOUD.format(folder=tmp_path, granted="ACTIVE"))
    program(tmp_path, "git", "")
    if before:
        (tmp_path / "state").write_text(before)
    code, calls, printed = run(tmp_path, str(LAUNCH / "tpu_pod.sh"), **TPU)
    assert code == 0, printed
    begin = {"": ["create"], "ACTIVE": [], "SUSPENDED": ["delete", "create"]}[before]
    assert steps(calls) == [*begin, "scp", "ssh", "ssh", "scp --recurse", "delete"]
    assert any(EXPERIMENT in call for call in calls)


def test_a_tpu_slice_that_is_not_granted_ends_with_what_to_do(tmp_path: Path) -> None:
    program(tmp_path, "gcloud", GCLOUD.format(folder=tmp_path, granted="FAILED"))
    code, calls, printed = run(tmp_path, str(LAUNCH / "tpu_pod.sh"), **TPU)
    assert code == 1 and steps(calls) == ["create"]
    assert "slice was not granted" in printed and "tpu_pod.sh delete" in printed


def test_a_dry_run_prints_every_command_and_starts_none(tmp_path: Path) -> None:
    program(tmp_path, "gcloud", "")
    program(tmp_path, "git", "")
    code, calls, printed = run(tmp_path, str(LAUNCH / "tpu_pod.sh"), "--dry-run", **TPU)
    assert (code, calls) == (0, [])
    assert printed.count("+ 'gcloud'") == 6 and "v6e-16" in printed


def test_an_unknown_step_and_a_missing_name(tmp_path: Path) -> None:
    script = str(LAUNCH / "tpu_pod.sh")
    code, _, printed = run(tmp_path, script, "--dry-run", "rum", **TPU)
    assert code == 2 and "no step rum: create," in printed
    code, _, printed = run(tmp_path, script, "--dry-run")
    assert code == 1 and "TPU: set it to a name for the slice" in printed
