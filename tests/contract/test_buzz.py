"""The brand buzz: keys may be shown again, errors stand alone, a model that nobody serves is 503."""

from tests.contract.answers import Answers
from tests.contract.clients import Clients
from tests.contract.keys import Keys
from tests.contract.lists import Lists
from tests.contract.pages import Pages
from tests.contract.promised import ANTHROPIC, OPENAI, Promised, Refused
from tests.contract.refusals import Refusals

PROMISED = Promised(
    name="buzz",
    key_prefix="sk-",
    masked=lambda key: f"{key[:4]}**********{key[-4:]}",
    revealed=True,
    bare_errors=True,
    model_list_extras=True,
    google_keys_on_models=False,
    anthropic=ANTHROPIC
    | {
        "key": Refused(401, "buzz_error"),
        "money": Refused(402, "insufficient_balance"),
        "key_cap": Refused(402, "insufficient_balance"),
        "model_unknown": Refused(503, "buzz_error", "model_not_found"),
        "no_account": Refused(503, "buzz_error", "model_not_found"),
    },
    openai=OPENAI
    | {
        "key": Refused(401, "buzz_error", "invalid_api_key"),
        "money": Refused(402, "insufficient_balance", "insufficient_quota"),
        "key_cap": Refused(402, "insufficient_balance", "insufficient_quota"),
        "model_unknown": Refused(503, "buzz_error", "model_not_found"),
        "no_account": Refused(503, "buzz_error", "model_not_found"),
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
