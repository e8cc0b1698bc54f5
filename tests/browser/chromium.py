"""Chromium without a window, and what the tests want to know of a page in it."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # of root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
READY = "return document.documentElement.classList.contains('live') && !document.documentElement.dataset.busy"
SECONDS = 60  # until a page must be drawn: for a busy machine
TALL = 12_000  # pixels of a screenshot, at most


def missing() -> str:
    """Why there is no browser here; empty where there is one."""
    lacking = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"no {' and '.join(lacking)} here; `tests/browser/browser.sh install` says why" if lacking else ""


@contextmanager
def browser(profile: Path, script: bool = True) -> Iterator[webdriver.Chrome]:
    """A browser with a fresh profile that notes every request and every word on its console."""
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which("chromium"))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(SECONDS)
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """A page that is open in a browser."""

    def __init__(self, driver: webdriver.Chrome, path: Path) -> None:
        self.driver, self.path = driver, path

    def open(self, width: int, scheme: str = "light", choice: str = "") -> None:
        """Open the page from disk in a window of so many pixels, with a colour scheme, and wait until it is drawn."""
        self.resize(width)
        self.media([{"name": "prefers-color-scheme", "value": scheme}])
        self.driver.get("about:blank")  # a choice alone would not load the page again
        self.driver.get(f"{self.path.as_uri()}{choice}")
        self.wait()

    def wait(self) -> None:
        """Wait until all charts are drawn."""
        WebDriverWait(self.driver, SECONDS, poll_frequency=0.05).until(lambda driver: driver.execute_script(READY))

    def resize(self, width: int, height: int = 900) -> None:
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def media(self, features: list[Mapping[str, str]], medium: str = "") -> None:
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def press(self, selector: str) -> None:
        """Click on something and wait until all charts have followed."""
        self.run("document.querySelector(arguments[0]).click()", selector)
        self.wait()

    def charts(self) -> dict[str, str]:
        """What every live chart draws: its SVG by name, without ids, which differ from drawing to drawing."""
        script = """
          return Object.fromEntries([...document.querySelectorAll('figure[data-figure]')].map((figure) => [
            figure.dataset.figure,
            [...figure.querySelectorAll('.chart svg')].filter((svg) => svg.checkVisibility())
              .map((svg) => svg.outerHTML.replace(/(id|clip-path)="[^"]*"/g, '')).join('')]));
        """
        drawn: dict[str, str] = self.run(script)
        return drawn

    def words(self) -> dict[str, list[str]]:
        """What is written in every live chart."""
        script = """
          return Object.fromEntries([...document.querySelectorAll('figure[data-figure]')].map((figure) => [
            figure.dataset.figure,
            [...figure.querySelectorAll('.finding, .chart text')].filter((text) => text.checkVisibility())
              .map((text) => text.textContent).sort()]));
        """
        written: dict[str, list[str]] = self.run(script)
        return written

    def console(self) -> list[str]:
        """Every word on the console since this was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for since this was last asked."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [params["request"]["url"] for params in sent]

    def picture(self, to: Path) -> None:
        """A screenshot of the whole page."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, TALL), "scale": 1}
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(base64.b64decode(shot["data"]))
