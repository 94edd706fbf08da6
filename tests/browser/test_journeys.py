"""What people come for, from the first page to the last, in a real browser."""

import re

from openai import OpenAI
from playwright.sync_api import Page, expect

from services.shared import ids
from tests.browser.conftest import Open
from tests.deployment import MODEL, Deployment, eventually
from tests.visitors import PASSWORD
from tollhouse.v1 import billing_pb2

NANO = 1_000_000_000


def registered(page: Page) -> None:
    page.goto("/auth?action=register")
    page.get_by_label("E-mail").fill(f"{ids.ulid()}@tests.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.locator("main").get_by_role("button").click()
    expect(page).to_have_url(re.compile("/dashboard$"))


def voucher(tollhouse: Deployment, dollars: int) -> str:
    made = tollhouse.billing.CreateVouchers(
        billing_pb2.CreateVouchersRequest(
            count=1,
            amount_nano=dollars * NANO,
            funding=billing_pb2.VOUCHER_FUNDING_SOLD,
            batch_id=ids.ulid(),
            reason="test",
            actor="test",
        )
    )
    return made.codes[0]


def test_somebody_registers_pays_by_voucher_makes_a_key_calls_and_sees_what_it_cost(
    visit: Open, tollhouse: Deployment
) -> None:
    page = visit()
    registered(page)

    page.get_by_role("navigation", name="Main", exact=True).get_by_role("link", name="Billing").click()
    page.get_by_label("Code").fill(voucher(tollhouse, 20))
    page.get_by_role("button", name="Redeem").click()
    expect(page.locator(".stats")).to_contain_text("$20.00")

    page.goto("/dashboard/keys/new")
    page.get_by_role("textbox", name="Name").fill("my first key")
    page.locator("main").get_by_role("button", name="Make key").click()
    shown = page.locator("main code").filter(has_text="sk-th-").first
    expect(shown).to_be_visible()
    key = shown.inner_text()

    client = OpenAI(api_key=key, base_url=f"{tollhouse.base_url}/v1")
    said = client.chat.completions.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": "Say hello."}]
    )
    assert said.usage is not None

    def is_shown() -> bool:
        page.goto("/dashboard/usage")
        return MODEL in page.locator("main").inner_text()

    eventually(is_shown, what="the request shows on the page of usage")
    page.goto("/dashboard/billing")
    balance = page.locator(".stats .value").first
    expect(balance).not_to_have_attribute("title", "$20.00")
    expect(balance).to_have_attribute("title", re.compile(r"^\$19\.99"))
    page.goto("/dashboard/keys")
    expect(page.locator("main")).to_contain_text("my first key")


def test_an_operator_sees_a_throttled_account_count_down_and_clears_it(visit: Open, tollhouse: Deployment) -> None:
    model = f"throttled-{ids.ulid()[-8:]}"
    tollhouse.account(f"throttled-{model[-8:]}", tollhouse.simulator_url, {model: MODEL})
    tollhouse.messages(tollhouse.key, simulator="status=429;retry_after=120", model=model)

    page = visit()
    page.goto("/sign-in?next=/operator/accounts")
    page.get_by_label("E-mail").fill(tollhouse.operator[0])
    page.get_by_label("Password").fill(tollhouse.operator[1])
    page.locator("main").get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(re.compile("/operator/accounts$"))
    page.get_by_role("link", name=f"throttled-{model[-8:]}").first.click()
    expect(page.locator("main")).to_contain_text(re.compile("throttled", re.IGNORECASE))
    countdown = page.locator("[data-until]").first
    expect(countdown).to_be_visible()
    before = countdown.inner_text()
    expect(countdown).not_to_have_text(before)
    page.get_by_role("button", name="Clear", exact=True).first.click()
    expect(page.locator("[data-until]")).to_have_count(0)
