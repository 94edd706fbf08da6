"""Unit tests of services.ledger.tokens."""

import pytest

from services.ledger.tokens import (
    INTERNAL,
    USAGE,
    Caller,
    Callers,
    bearer_token,
    caller,
    new_token,
    permit,
    token_hash,
)
from services.shared.errors import Kind, Refusal
from services.shared.settings import Secret

READER = Caller("reader", USAGE, "")
OWN = Secret("thst_own")
METHOD = "/tollhouse.v1.UsageService/GetUsage"


class Store:
    """Tokens as the database keeps them, and how often it was asked."""

    def __init__(self, **tokens: Caller) -> None:
        self.tokens = {token_hash(token): who for token, who in tokens.items()}
        self.asked = 0

    async def find(self, hashed: bytes) -> Caller | None:
        self.asked += 1
        return self.tokens.get(hashed)


class Call:
    """A call's context, of which only the metadata is read."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple(metadata.items())

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


def shown(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def kind_of(callers: Callers, token: str) -> Kind | None:
    try:
        await callers.identify(shown(token))
    except Refusal as refusal:
        return refusal.kind
    return None


def test_tokens_differ_and_say_what_they_are() -> None:
    made = {new_token() for _ in range(100)}
    assert len(made) == 100
    assert all(token.startswith("thst_") and len(token) == 48 for token in made)


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Basic dXNlcg==", "thst_x"])
def test_a_call_without_a_bearer_token_has_none(header: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        bearer_token(header)
    assert caught.value.kind is Kind.TOKEN_MISSING


def test_the_scheme_is_read_whatever_its_case() -> None:
    assert bearer_token("bearer  thst_x ") == "thst_x"


@pytest.mark.parametrize(
    ("scope", "method", "allowed"),
    [
        (USAGE, METHOD, True),
        (USAGE, "/tollhouse.v1.LedgerService/TopUp", False),
        (USAGE, "/tollhouse.v1.TokenService/CreateToken", False),
        (USAGE, "/tollhouse.v1.UsageServiceOfTomorrow/Write", False),
        (INTERNAL, METHOD, True),
        (INTERNAL, "/tollhouse.v1.LedgerService/TopUp", True),
    ],
)
def test_a_scope_opens_what_it_is_for(scope: int, method: str, allowed: bool) -> None:
    who = Caller("x", INTERNAL if scope == INTERNAL else USAGE, "")
    if allowed:
        permit(who, method)
    else:
        with pytest.raises(Refusal) as caught:
            permit(who, method)
        assert caught.value.kind is Kind.TOKEN_SCOPE


def test_a_tenants_caller_asks_about_that_tenant_only() -> None:
    one = Caller("x", USAGE, "acme")
    assert [one.tenant(""), one.tenant("acme"), READER.tenant(""), READER.tenant("acme")] == [
        "acme",
        "acme",
        "",
        "acme",
    ]
    with pytest.raises(Refusal):
        one.tenant("other")


async def test_each_of_several_internal_tokens_is_the_deployments_own() -> None:
    callers = Callers([OWN, Secret("thst_next")], Store().find, ttl_s=60, limit=10)
    for token in (OWN.reveal(), "thst_next"):
        assert (await callers.identify(shown(token))).name == "internal"


async def test_a_known_token_is_looked_up_once_while_it_is_remembered() -> None:
    store = Store(thst_reader=READER)
    callers = Callers([OWN], store.find, ttl_s=60, limit=10)
    for _ in range(3):
        assert await callers.identify(shown("thst_reader")) is READER
        assert await kind_of(callers, "thst_nobody") is Kind.TOKEN_UNKNOWN
    assert store.asked == 2


async def test_a_revoked_token_is_forgotten_at_once() -> None:
    store = Store(thst_reader=READER)
    callers = Callers([OWN], store.find, ttl_s=60, limit=10)
    await callers.identify(shown("thst_reader"))
    store.tokens.clear()
    callers.forget(token_hash("thst_reader"))
    assert await kind_of(callers, "thst_reader") is Kind.TOKEN_UNKNOWN


async def test_what_was_looked_up_during_a_revocation_is_not_remembered() -> None:
    store = Store(thst_reader=READER)

    async def find(hashed: bytes) -> Caller | None:
        found = await store.find(hashed)
        callers.forget(hashed)  # arrives while the answer is on its way
        return found

    callers = Callers([OWN], find, ttl_s=60, limit=10)
    await callers.identify(shown("thst_reader"))
    await callers.identify(shown("thst_reader"))
    assert store.asked == 2


async def test_no_more_tokens_are_remembered_than_are_allowed() -> None:
    store = Store()
    callers = Callers([OWN], store.find, ttl_s=60, limit=2)
    for token in ("thst_a", "thst_b", "thst_c", "thst_a"):
        await kind_of(callers, token)
    assert store.asked == 4
    await kind_of(callers, "thst_c")
    assert store.asked == 4


async def test_the_deployments_own_token_asks_nobody_and_may_do_all() -> None:
    store = Store()
    callers = Callers([OWN], store.find, ttl_s=60, limit=2)
    await callers.guard("/tollhouse.v1.LedgerService/TopUp", Call(authorization="Bearer thst_own"))
    assert caller.get().scope == INTERNAL
    assert caller.get().reads_all
    assert store.asked == 0
