import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipbench.sources import owners
from clipbench.sources.modules import ENVIRONMENT, Code, digests, source, where
from clipbench.sources.owners import Owner, is_hashed, owner

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages that is searched first."""
    folder = tmp_path / "dist-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(autouse=True)
def _forget_what_is_installed() -> Iterator[None]:
    for cached in (owners.owner, owners._installed):
        cached.cache_clear()
    yield
    for cached in (owners.owner, owners._installed):
        cached.cache_clear()


def test_what_clipbench_needs_is_the_environment() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {each.partition(">")[0] for each in needed} == ENVIRONMENT


@pytest.mark.parametrize(
    ("path", "kind", "hashed"),
    [
        (types.__file__, "python", False),
        (pytest.__file__, "package", False),
        (ROOT / "clipbench" / "networks" / "cache.py", "clipbench", True),
        (ROOT / "clipbench" / "momentum.py", "clipbench", True),
        (ROOT / "clipbench" / "clipping" / "hook.py", "clipbench", False),
        (ROOT / "clipbench" / "database.py", "clipbench", False),
        (ROOT / "clipbench_mine" / "networks" / "x.py", "user", True),
        (__file__, "user", True),
    ],
)
def test_each_file_is_somebodys(path: str | Path, kind: str, hashed: bool) -> None:
    assert (owner(Path(path)).kind, is_hashed(Path(path))) == (kind, hashed)


def test_a_package_whose_files_are_links_to_an_installers_cache_is_that_package(site: Path, tmp_path: Path) -> None:
    (tmp_path / "cached.py").write_text("")
    (site / "linked.py").symlink_to(tmp_path / "cached.py")
    about = site / "linked-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: linked\nVersion: 1.0\n")
    (about / "RECORD").write_text("linked.py,sha256=x,1\n")
    (about / "direct_url.json").write_text("{ not json")
    assert owner(site / "linked.py") == Owner("package", "linked==1.0")


@pytest.mark.parametrize(("folder", "kind"), [("dist-packages", "package"), ("project", "user")])
def test_a_package_without_a_list_of_files_has_its_folder_where_packages_are_installed(
    folder: str, kind: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = site.with_name(folder)
    monkeypatch.syspath_prepend(place)
    about = place / "old-1.0.egg-info"
    about.mkdir(parents=True)
    (about / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1.0\n")
    (about / "top_level.txt").write_text("old\n")
    assert owner(place / "old" / "deep" / "x.py").kind == kind
    assert owner(place / "older.py").kind == "user"


def test_a_module_is_found_without_loading_it_or_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("unloaded/__init__.py", "unloaded/inner/deep.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("raise RuntimeError")
    assert where("unloaded") == tmp_path / "unloaded" / "__init__.py"
    assert where("unloaded.inner.deep") == tmp_path / "unloaded" / "inner" / "deep.py"
    assert [where(name) for name in ("unloaded.inner", "unloaded.x", "unloaded.inner.deep.X", "sys", "no_such")] == [
        None
    ] * 5
    assert "unloaded" not in sys.modules


def test_a_finder_or_an_object_of_somebodys_that_fails_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def find_spec(self, *_: object) -> None:
            raise RuntimeError

        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

    monkeypatch.setattr(sys, "meta_path", [Failing(), *sys.meta_path])
    monkeypatch.setitem(sys.modules, "failing_object", Failing())  # as six does
    assert where("this") is not None
    assert where("failing_object") is None


def test_a_source_can_be_read_back(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("X = 1\n")
    said = source(Code({"a.b": path, "c%20d.py": path}, frozenset({"p==1.0", "torch==2.13.0+cpu"})))
    assert list(digests(said)) == ["a.b", "c%20d.py"]
    assert digests("0" * 64) == digests("") == digests("torch==2.13.0+cpu") == {}
