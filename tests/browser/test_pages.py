"""Every page in a real browser: as people see it, as those hear it who cannot see it, and without complaints.

Pictures are written to tests/browser/screenshots, to be looked at.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.customers import make_key
from tests.deployment import Deployment
from tests.places import PUBLIC, pattern, places
from tests.visitors import Visitor, customer, operator

HERE = Path(__file__).parent
PICTURES = HERE / "screenshots"
AXE = (HERE / "vendor" / "axe.min.js").read_text(encoding="utf-8")
MODES = {"light": (1280, "light"), "dark": (1280, "dark"), "phone": (390, "light")}
STANDARD = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}


@dataclass(frozen=True)
class Somebody:
    """Somebody who looks at pages, and which ones there are for them."""

    name: str
    secret: str
    paths: list[str]


@pytest.fixture(scope="module")
def everybody(tollhouse: Deployment) -> list[Somebody]:
    """A visitor, a new customer, one with the longest names that there are, and the operator, who has used the API."""
    for _ in range(3):
        assert tollhouse.messages(tollhouse.key).status == 200
    anybody, newcomer, boss = Visitor.of(tollhouse), customer(tollhouse), operator(tollhouse)
    wordy = Visitor.of(tollhouse)
    assert wordy.register(f"{'w' * 60}@{'.'.join(['w' * 30] * 5)}.example").status_code == 303
    make_key(wordy, name="W" * 50, spend_cap="9999999.123456789")
    return [
        Somebody("visitor", "", list(PUBLIC)),
        Somebody("newcomer", newcomer.secret, places(newcomer, "/dashboard", "/settings")),
        Somebody("wordy", wordy.secret, places(wordy, "/dashboard/keys", "/dashboard", "/settings")),
        Somebody("operator", boss.secret, places(boss, "/dashboard", "/settings", "/operator")),
        Somebody("lost", anybody.secret, ["/sign-in?next=/dashboard"]),
    ]


@pytest.fixture(scope="module", autouse=True)
def pictures() -> Path:
    shutil.rmtree(PICTURES, ignore_errors=True)
    PICTURES.mkdir()
    return PICTURES


def settled(page: Page, path: str) -> None:
    """Pages with live parts are never idle on the network, so only their own files are waited for."""
    page.goto(path, wait_until="load")
    page.wait_for_timeout(150)


def picture(name: str, mode: str, path: str) -> str:
    slug = pattern(path).strip("/").replace("/", "-").replace("*", "one") or "landing"
    return str(PICTURES / f"{name}-{slug}-{mode}.png")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_every_page_fits_its_screen_and_the_browser_has_nothing_to_say(
    visit: Open, everybody: list[Somebody], mode: str
) -> None:
    width, scheme = MODES[mode]
    wide = []
    for one in everybody:
        page = visit(one.secret, width=width, scheme=scheme)
        for path in one.paths:
            settled(page, path)
            if page.evaluate("document.documentElement.scrollWidth") > width:
                wide.append(f"{one.name} {path}")
            page.screenshot(path=picture(one.name, mode, path), full_page=True)
    assert not wide


@pytest.mark.timeout(600)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible(visit: Open, everybody: list[Somebody], scheme: str) -> None:
    """WCAG 2.2, levels A and AA, as far as axe-core can tell."""
    faults = []
    for one in everybody:
        page = visit(one.secret, scheme=scheme)
        for path in one.paths:
            settled(page, path)
            page.evaluate(AXE)
            found = page.evaluate("options => axe.run(document, options)", STANDARD)
            for fault in found["violations"]:
                nodes = [node["html"][:160] for node in fault["nodes"][:3]]
                faults.append(f"{one.name} {path}: {fault['id']}: {fault['help']}: {nodes}")
    assert not faults, "\n".join(faults)
