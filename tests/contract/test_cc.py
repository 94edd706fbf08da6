"""The brand cc: keys are shown once, answers say request and account in headers of its own."""

from tests.contract.answers import Answers
from tests.contract.clients import Clients
from tests.contract.house import BY_ANTHROPIC, BY_OPENAI, House
from tests.contract.keys import Keys
from tests.contract.lists import Lists
from tests.contract.pages import Pages
from tests.contract.promised import ANTHROPIC, APIS, OPENAI, Promised, Refused, prefix_and_last_four
from tests.contract.refusals import Refusals

PROMISED = Promised(
    name="cc",
    key_prefix="cc_user_",
    masked=prefix_and_last_four("cc_user_"),
    request_id_header="X-CC-Request-Id",
    account_header="X-CC-Account-Id",
    anthropic=ANTHROPIC
    | {
        "key": Refused(401, "authentication_error"),
        "money": Refused(402, "insufficient_credit"),
        "key_cap": Refused(402, "insufficient_credit"),
        "no_account": Refused(503, "overloaded_error"),
    },
    openai=OPENAI
    | {
        "key": Refused(401, "authentication_error", "invalid_api_key"),
        "money": Refused(402, "insufficient_credit", "insufficient_quota"),
        "key_cap": Refused(402, "insufficient_credit", "insufficient_quota"),
        "no_account": Refused(503, "overloaded_error", "no_healthy_account"),
    },
)


class TestKeys(Keys):
    """Form, headers, masks."""


class TestAnswers(Answers):
    """All APIs, whoever answers."""


class TestLists(Lists):
    """Models, in three shapes."""


class TestPages(Pages):
    """All other routes, and browsers."""


class TestClients(Clients):
    """Older SDKs and Node's."""


class TestRefusals(Refusals):
    """In either API's shape."""


def test_the_account_that_answered_has_an_opaque_name_that_is_the_same_every_time(house: House, key: str) -> None:
    names = {house.ask(api, key, BY_ANTHROPIC).headers["x-cc-account-id"] for api in APIS}
    assert len(names) == 1
    assert names.pop() != house.ask("anthropic", key, BY_OPENAI).headers["x-cc-account-id"]


def test_a_refusal_of_ours_names_no_account(house: House) -> None:
    answer = house.ask("anthropic", "cc_user_nobody")
    assert "x-cc-request-id" in answer.headers
    assert "x-cc-account-id" not in answer.headers
