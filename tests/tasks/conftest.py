"""Tests keep their own cache, and pre-train for three steps only."""

from pathlib import Path

import pytest

from clipbench.tasks import number_translation


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _a_cache_of_our_own(cache_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache_root))
    monkeypatch.setattr(number_translation, "PRETRAINING_STEPS", 3)
