"""What the sandbox image promises, looked at from inside real containers."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest

from controller import image

pytestmark = pytest.mark.docker

SURVEY = Path(__file__).with_name("image_survey.py").read_text(encoding="utf-8")
AS_IN_A_RUN = ("--read-only", "--user=200001:200001", "--cap-drop=ALL", "--security-opt=no-new-privileges")
WORK = ("--tmpfs=/work:rw,nosuid,nodev,exec,size=64m,uid=200001,gid=200001,mode=0700", "--env=HOME=/work",
        "--env=TMPDIR=/work")  # fmt: skip


def python(script: str, *options: str, tag: str = image.TAG) -> str:
    """What a script prints in a fresh container of the image."""
    command = ["docker", "run", "--rm", "-i", "--pull=never", "--network=none", *options, tag]
    done = subprocess.run(
        [*command, "python", "-I", "-B", "-"], input=script, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def survey() -> dict[str, Any]:
    """What the survey of the whole image found."""
    return json.loads(python(SURVEY, "--user=0:0", "--read-only"))


@pytest.fixture(scope="module")
def as_a_script() -> dict[str, Any]:
    """What a script sees that runs as scripts do."""
    script = """
import json, os, pathlib, sys
os.environ["MPLCONFIGDIR"] = "/work/.config/matplotlib"
config = pathlib.Path(os.environ["MPLCONFIGDIR"])
config.mkdir(parents=True)
for file in pathlib.Path("/opt/airlock/matplotlib").iterdir():
    (config / file.name).symlink_to(file)
import logging
said = []
class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("matplotlib").addHandler(Listener())
logging.getLogger("matplotlib").setLevel("DEBUG")
import matplotlib.font_manager as fonts
import matplotlib.pyplot as plt
plt.title("x")
plt.savefig("/work/plot.png")
import runner, pandas
print(json.dumps({
    "environment": dict(os.environ),
    "cwd": os.getcwd(),
    "mpl_said": said,
    "mpl_files": sorted(path.name for path in config.iterdir()),
    "mpl_font": fonts.findfont(fonts.FontProperties()),
    "png": (pathlib.Path("/work/plot.png").read_bytes()[:4]).hex(),
    "runner": runner.__file__,
    "pandas": pandas.__version__,
    "folders": {name: os.listdir(name) for name in ("/in", "/out")},
    "explicit": pathlib.Path("/opt/conda/conda-meta/explicit.txt").read_text().splitlines(),
    "records": [json.loads(p.read_text())["name"] for p in pathlib.Path("/opt/conda/conda-meta").glob("*.json")],
}))
"""
    return json.loads(python(script, *AS_IN_A_RUN, *WORK))


@pytest.fixture(scope="module")
def client() -> Iterator[docker.DockerClient]:
    """A connection to the engine."""
    connection = docker.from_env()
    yield connection
    connection.close()


def test_the_survey_sees_the_whole_image(survey: dict[str, Any]) -> None:
    """The checks below would pass on an empty list: the survey looked at tens of thousands of files."""
    assert survey["seen"] > 20_000


def test_no_setuid_file_in_the_image(survey: dict[str, Any]) -> None:
    """No file or folder has the setuid or the setgid bit."""
    assert survey["privileged"] == []


def test_no_file_gives_capabilities(survey: dict[str, Any]) -> None:
    """No program raises the capabilities of who runs it."""
    assert survey["capable"] == []


def test_everything_belongs_to_root(survey: dict[str, Any]) -> None:
    """Whatever uid a run is given, no file in the image is its own."""
    assert survey["not_root"] == []


def test_nothing_is_writable_by_others(survey: dict[str, Any]) -> None:
    """Group and others can write no file or folder, /tmp included, even on a writable root file system."""
    assert survey["writable"] == []


def test_no_device_in_the_image(survey: dict[str, Any]) -> None:
    """Device nodes come from the engine only."""
    assert survey["devices"] == []


def test_every_module_is_compiled(survey: dict[str, Any]) -> None:
    """Each module of the environment and the runner has a .pyc that Python uses without a look at the source."""
    assert survey["not_compiled"] == []


def test_the_survey_finds_what_is_planted() -> None:
    """The survey reports each kind of fault when there is one: its empty lists mean something."""
    plant = """
import os, subprocess
for name in ("setuid", "theirs", "writable", "capable"):
    open("/opt/" + name, "w").close()
os.chmod("/opt/setuid", 0o4755)
os.chown("/opt/theirs", 200001, 200001)
os.chmod("/opt/writable", 0o666)
os.setxattr("/opt/capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
os.mknod("/opt/device", 0o20600, os.makedev(1, 3))
open("/opt/airlock/module.py", "w").close()
"""

    found = json.loads(python(plant + SURVEY, "--user=0:0"))

    assert found["privileged"] == ["/opt/setuid"]
    assert found["not_root"] == ["/opt/theirs"]
    assert found["writable"] == ["/opt/writable"]
    assert found["capable"] == ["/opt/capable"]
    assert found["devices"] == ["/opt/device"]
    assert found["not_compiled"] == ["/opt/airlock/module.py"]


def test_matplotlib_finds_its_fonts_without_building_a_cache(as_a_script: dict[str, Any]) -> None:
    """With the image's font list linked into MPLCONFIGDIR, matplotlib draws text and writes no list."""
    assert as_a_script["png"] == "89504e47"
    assert as_a_script["mpl_font"].startswith("/opt/conda/")
    assert len(as_a_script["mpl_files"]) == 1
    assert not [line for line in as_a_script["mpl_said"] if "generated new fontManager" in line]
    assert [line for line in as_a_script["mpl_said"] if line.startswith("Using fontManager instance from")]


def test_the_runner_is_importable_in_isolated_mode(as_a_script: dict[str, Any]) -> None:
    """`python -I -B -m runner` finds the package, whatever version of Python the environment holds."""
    assert as_a_script["runner"] == "/opt/airlock/runner/__init__.py"


def test_in_and_out_are_there_and_empty(as_a_script: dict[str, Any]) -> None:
    """The mount points exist: the engine need not make them in a read-only root."""
    assert as_a_script["folders"] == {"/in": [], "/out": []}
    assert as_a_script["cwd"] == "/work"


def test_the_image_sets_only_the_path(client: docker.DockerClient) -> None:
    """The engine sets a run's environment; the image adds nothing but PATH to it, and no port or volume."""
    config = client.images.get(image.TAG).attrs["Config"]

    assert config["Env"] == ["PATH=/opt/conda/bin:/usr/bin:/bin"]
    assert config["Cmd"] == ["python", "-I", "-B", "-m", "runner"]
    assert not config.get("ExposedPorts")
    assert not config.get("Volumes")
    assert config["User"] == "65534:65534"


def test_the_exact_list_names_every_package_with_a_hash(as_a_script: dict[str, Any]) -> None:
    """conda-meta/explicit.txt has one URL with a SHA-256 for each record in conda-meta, readable by scripts."""
    lines = as_a_script["explicit"]

    assert lines[0] == "@EXPLICIT"
    assert len(lines) - 1 == len(as_a_script["records"])
    assert all(len(line.partition("#")[2]) == 64 for line in lines[1:])


def test_r_fits_a_model() -> None:
    """R, which environment.yml lists, starts as a script's child on the read-only root and fits a model."""
    script = """
import subprocess
command = ["Rscript", "-e", "cat(coef(lm(y ~ x, data.frame(x = 1:5, y = 2 * (1:5) + 1))))"]
print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
"""

    coefficients = [float(word) for word in python(script, *AS_IN_A_RUN, *WORK).split()]

    assert coefficients == pytest.approx([1, 2])


def test_the_inventory_is_what_a_script_imports(client: docker.DockerClient, as_a_script: dict[str, Any]) -> None:
    """`airlock image list` shows the packages that are in the image, and where they came from."""
    found = next(entry for entry in image.inventory(client) if image.TAG in entry.tags)

    versions = {package.name: package.version for package in found.packages}
    assert versions["pandas"] == as_a_script["pandas"]
    assert sorted(versions) == sorted(as_a_script["records"])
    assert found.digest == client.images.get(image.TAG).id
    assert found.size_bytes > 100 << 20
    assert found.channels in (("conda-forge",), ("stand-in",))


def test_an_up_to_date_image_is_not_built_again() -> None:
    """Looking whether the image is up to date takes well under a second, and builds nothing."""
    sources = image.installed_sources()
    first = image.build(sources)

    second = image.build(sources)

    assert not second.fresh
    assert second.digest == first.digest
    assert second.seconds < 0.7


def test_a_change_of_the_runner_keeps_the_environment(client: docker.DockerClient, tmp_path: Path) -> None:
    """A build after a change of the runner alone takes the environment's layers as they are."""
    before = image.build(image.installed_sources())
    context = shutil.copytree(image.installed_sources().context, tmp_path / "sandbox_image")
    (context / "runner/added.py").write_text('"""A module that was not there."""\n')
    tag = "airlock-sandbox-test:runner-changed"

    after = image.build(replace(image.installed_sources(), context=context), tag)

    try:
        layers = [client.images.get(name).attrs["RootFS"]["Layers"] for name in (before.digest, after.digest)]
        assert layers[0][:3] == layers[1][:3]
        assert layers[0] != layers[1]
        assert python("import runner.added; print(runner.added.__doc__)", tag=tag).startswith("A module that")
    finally:
        client.images.remove(tag)
