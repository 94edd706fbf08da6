"""The brand haze: a key that is not good is told as OpenAI tells it on OpenAI's routes."""

from tests.contract.answers import Answers
from tests.contract.clients import Clients
from tests.contract.keys import Keys
from tests.contract.lists import Lists
from tests.contract.pages import Pages
from tests.contract.promised import ANTHROPIC, OPENAI, Promised, Refused, prefix_and_last_four
from tests.contract.refusals import Refusals

PROMISED = Promised(
    name="haze",
    key_prefix="sk-rr-",
    masked=prefix_and_last_four("sk-rr-"),
    anthropic=ANTHROPIC
    | {
        "key": Refused(401, "authentication_error"),
        "money": Refused(402, "insufficient_balance"),
        "key_cap": Refused(402, "insufficient_balance"),
        "no_account": Refused(503, "no_available_channel"),
    },
    openai=OPENAI
    | {
        "key": Refused(401, "invalid_api_key", "invalid_api_key"),
        "money": Refused(402, "insufficient_balance", "insufficient_quota"),
        "key_cap": Refused(402, "insufficient_balance", "insufficient_quota"),
        "no_account": Refused(503, "no_available_channel", "no_healthy_account"),
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
