"""A page in a real browser: what it asks of the network, what it complains of, and what stands in it."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import NOT_INSTALLED

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Opened:
    """A page that is ready, with the addresses that it asked for and the messages on its console."""

    page: Any
    asked: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def ready(self) -> None:
        """Wait for the last picture."""
        self.page.wait_for_function("document.documentElement.dataset.ready === 'all'", timeout=30_000)

    def marks(self, name: str = "arm") -> dict[str, int]:
        """How many marks of a layer each picture has."""
        found: dict[str, int] = self.page.evaluate(
            """(name) => Object.fromEntries([...document.querySelectorAll("figure")].map((figure) => [
                figure.dataset.figure,
                figure.querySelectorAll(`.${name}_marks path`).length,
            ]))""",
            name,
        )
        return found


def eventually(true: Callable[[], bool]) -> bool:
    """Whether it comes true within some seconds: pictures are drawn anew after a click has returned."""
    until = time.monotonic() + 10
    while not (is_true := true()) and time.monotonic() < until:
        time.sleep(0.02)
    return is_true


@contextmanager
def browsing() -> Iterator[Any]:
    """A headless browser; the test is skipped without one, or without the package that drives it."""
    api = pytest.importorskip("playwright.sync_api", reason=f"{NOT_INSTALLED}playwright")
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"{NOT_INSTALLED}chromium")
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Any, path: Path, *, scheme: str = "light") -> Opened:
    """The page of a file, at the size of a small laptop's window."""
    page = browser.new_page(viewport={"width": 1200, "height": 900}, color_scheme=scheme)
    made = Opened(page)
    page.on("request", lambda request: made.asked.append(request.url))
    page.on("console", lambda message: made.messages.append(message.text))
    page.on("pageerror", lambda error: made.messages.append(str(error)))
    page.goto(path.as_uri())
    made.ready()
    return made
