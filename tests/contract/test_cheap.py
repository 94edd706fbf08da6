"""The brand cheap: reached under a base path of its own too, and max_tokens may be left out."""

import json

from tests.contract.answers import Answers
from tests.contract.clients import Clients
from tests.contract.house import House
from tests.contract.keys import Keys
from tests.contract.lists import Lists
from tests.contract.pages import Pages
from tests.contract.promised import ANTHROPIC, OPENAI, Promised, Refused, prefix_and_last_four
from tests.contract.refusals import Refusals
from tests.contract.shapes import message_events
from tests.deployment import MODEL, message

PROMISED = Promised(
    name="cheap",
    key_prefix="sk-cc-",
    masked=prefix_and_last_four("sk-cc-"),
    roots=("", "/v1", "/api/proxy", "/api/proxy/v1"),
    default_max_tokens=4096,
    anthropic=ANTHROPIC
    | {
        "key": Refused(401, "authentication_error"),
        "money": Refused(402, "insufficient_balance"),
        "key_cap": Refused(402, "insufficient_balance"),
        "no_account": Refused(503, "upstream_error"),
    },
    openai=OPENAI
    | {
        "key": Refused(401, "authentication_error", "invalid_api_key"),
        "money": Refused(402, "insufficient_balance", "insufficient_quota"),
        "key_cap": Refused(402, "insufficient_balance", "insufficient_quota"),
        "no_account": Refused(503, "upstream_error", "no_healthy_account"),
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


def test_max_tokens_of_the_clients_own_is_left_as_it_is(house: House, key: str) -> None:
    asked = message(max_tokens=77) | {"messages": [{"role": "user", "content": "Say hello. [[sim echo=1]]"}]}
    answer = house.call("POST", "/api/proxy/v1/messages", key, asked)
    assert json.loads(answer.json()["content"][0]["text"])["max_tokens"] == 77


def test_a_message_without_max_tokens_streams_too(house: House, key: str) -> None:
    asked = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Say hello."}]}
    assert message_events(house.call("POST", "/api/proxy/v1/messages", key, asked).body)
