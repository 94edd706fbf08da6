"""The system's Chromium, and pages that fail a test when the browser complains of them."""

import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from tests.deployment import Deployment

NAMES = ("chromium", "chromium-browser", "google-chrome")

Open = Callable[..., Page]
"""Opens a browser of its own, signed in with a session's secret if one is given."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "there is no Chromium on this machine: `make test-browser` installs it"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def visit(browser: Browser, tollhouse: Deployment) -> Iterator[Open]:
    """Errors of scripts, refused resources and violations of the content security policy fail the test at its end."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def visit(secret: str = "", width: int = 1280, scheme: str = "light") -> Page:
        context = browser.new_context(
            base_url=tollhouse.console_url,
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            extra_http_headers={"x-forwarded-for": f"10.200.{len(contexts) // 250}.{len(contexts) % 250}"},
        )
        contexts.append(context)
        if secret:
            context.add_cookies([{"name": "session", "value": secret, "url": tollhouse.console_url}])
        page = context.new_page()
        page.on("console", lambda message: complaints.extend(_complaint(page, message)))
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


def _complaint(page: Page, message: ConsoleMessage) -> list[str]:
    return [f"{page.url}: {message.text}"] if message.type in ("error", "warning") else []
