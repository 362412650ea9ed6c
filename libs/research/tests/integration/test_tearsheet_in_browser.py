"""The tearsheet in a real browser: fits a phone, asks the network for nothing, complains about nothing."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_reports import made_hostile_run, made_report, made_run
from websockets.sync.client import ClientConnection, connect

from breakwater_research.tearsheet import render_html

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PHONE_WIDTH = 390
START = "DevTools listening on "
OVERFLOWING = """
document.querySelectorAll('details').forEach(details => { details.open = true });
JSON.stringify({
  width: document.documentElement.scrollWidth,
  title: document.title,
  background: getComputedStyle(document.body).backgroundColor,
  outside: [...document.querySelectorAll('main *')]
    .filter(element => !element.closest('.scroll table, svg *'))
    .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
    .map(element => element.outerHTML.slice(0, 120)),
})
"""


class Tab:
    """One tab of the browser, driven over the DevTools protocol; keeps every event."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._calls = 0
        self._session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._calls += 1
        message: dict[str, Any] = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while (answer := self._receive()).get("id") != self._calls:
            pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, method: str) -> None:
        while not any(event["method"] == method for event in self.events):
            self._receive()

    def open(self, page: Path, *, width: int, scheme: str) -> dict[str, Any]:
        """Load the page and return what it measures, all its sections unfolded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=True)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.as_uri())
        self.wait_for("Page.loadEventFired")
        measured = self.call("Runtime.evaluate", expression=OVERFLOWING, returnByValue=True)["result"]["value"]
        return dict(json.loads(measured))

    def of(self, method: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event["method"] == method]

    def _receive(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=20))
        if "method" in message:
            self.events.append(message)
        return message


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium on this machine; install it to have the page looked at by a browser")
    command = [
        program,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        "--remote-debugging-port=0",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        "about:blank",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as browser:
        try:
            assert browser.stderr is not None
            address = next(line for line in browser.stderr if line.startswith(START)).removeprefix(START).strip()
            with connect(address, max_size=None) as socket:
                yield Tab(socket)
        finally:
            browser.terminate()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    "report", [made_run(), made_hostile_run(), made_report()], ids=["plain", "hostile", "nothing-happened"]
)
def test_the_page_fits_a_phone_and_stays_by_itself(
    tab: Tab, tmp_path: Path, report: dict[str, Any], scheme: str
) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_html(report), encoding="utf-8")
    measured = tab.open(page, width=PHONE_WIDTH, scheme=scheme)
    assert measured["outside"] == []
    assert measured["width"] <= PHONE_WIDTH
    assert measured["title"].startswith(report["run_id"])
    assert measured["background"] == {"light": "rgb(245, 246, 247)", "dark": "rgb(16, 21, 27)"}[scheme]
    requested = [sent["request"]["url"] for sent in tab.of("Network.requestWillBeSent")]
    assert [url for url in requested if not url.startswith("data:")] == [page.as_uri()]
    for complaint in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        assert tab.of(complaint) == []
