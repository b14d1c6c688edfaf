"""What a wheel and a source distribution hold, and that the installed package works outside a clone."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml
from elsewhere import HOME, copied

import clipbench

BUILD = "import setuptools.build_meta as build; build.build_wheel('../built'); build.build_sdist('../built')"


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tree that was built from, the two distributions, and the wheel as pip unpacks it."""
    root = tmp_path_factory.mktemp("package")
    before = tree(copied(root / "source"))
    (root / "built").mkdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=root / "source", check=True, capture_output=True)
    (root / "tree.txt").write_text("\n".join(before))
    [wheel] = (root / "built").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(root / "installed")
    return root


@pytest.mark.slow
def test_the_wheel_holds_the_package_with_the_specs_of_the_clone_and_nothing_else(built: Path) -> None:
    installed = built / "installed"
    assert {path.name for path in installed.iterdir()} == {"clipbench", "clipbench-0.1.0.dist-info"}
    shipped = {
        path: (installed / "clipbench" / path).read_bytes()
        for path in tree(HOME)
        if path.startswith("benchmarks") and path.endswith(".yaml")
    }
    assert {"benchmarks/quickstart.yaml", "benchmarks/claims/pan_li_2023.yaml"} <= shipped.keys()
    assert all((HOME / path).read_bytes() == content for path, content in shipped.items())


@pytest.mark.slow
def test_the_source_distribution_holds_all_of_the_clone(built: Path) -> None:
    [archive] = (built / "built").glob("*.tar.gz")
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    made = ("docs/_build", "docs/generated")  # by `make docs`
    assert {path for path in (built / "tree.txt").read_text().split("\n") if not path.startswith(made)} - names == set()


@pytest.mark.slow
def test_the_installed_package_works_outside_a_clone(built: Path) -> None:
    def clipbench_says(*words: object) -> str:
        command = [sys.executable, "-m", "clipbench", *map(str, words)]
        environ = os.environ | {"PYTHONPATH": str(built / "installed")}
        done = subprocess.run(command, cwd=built, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert clipbench_says("run", "quickstart", "--dry-run").count("\n") > 7
    claims = clipbench_says("claims", HOME / "results/reference/cpu/claims", "--format", "csv")
    assert "C1," in claims


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == clipbench.__version__
