"""Hosts that no brand has: as Anthropic answers on Anthropic's routes, and as OpenAI on OpenAI's."""

from tests.contract.answers import Answers
from tests.contract.clients import Clients
from tests.contract.keys import Keys
from tests.contract.lists import Lists
from tests.contract.pages import Pages
from tests.contract.promised import Promised, prefix_and_last_four
from tests.contract.refusals import Refusals

PROMISED = Promised(
    name="",
    key_prefix="sk-th-",
    masked=prefix_and_last_four("sk-th-"),
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
