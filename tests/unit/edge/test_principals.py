"""Unit tests of services.edge.principals, beside an auth that answers when it is told to."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.edge.principals import Principal, Principals
from services.edge.settings import EdgeSettings
from services.shared import bus, principal
from services.shared.batching import Decisions
from services.shared.errors import Kind, Refusal, to_detail
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2, types_pb2

PEPPER = b"pepper"
ACME = Principal("acme", "key_1", "default")


def hash_of(key: str) -> bytes:
    return principal.key_hash(key, PEPPER)


@dataclass
class Auth:
    """The port of auth's decision stream."""

    asked: list[tuple[bytes, asyncio.Future[auth_pb2.ResolveResult]]] = field(default_factory=list)
    keys: dict[bytes, Principal] = field(default_factory=lambda: {hash_of("sk-th-abc"): ACME})
    prompt: bool = True

    def ask(self, field: str, item: auth_pb2.ResolveItem) -> asyncio.Future[auth_pb2.ResolveResult]:
        assert field == "resolve"
        future: asyncio.Future[auth_pb2.ResolveResult] = asyncio.get_running_loop().create_future()
        self.asked.append((item.key_hash, future))
        if self.prompt:
            asyncio.get_running_loop().call_soon(self.answer)
        return future

    def answer(self) -> None:
        for key_hash, future in self.asked:
            known = self.keys.get(key_hash)
            if future.done():
                continue
            if known is None:
                error = to_detail(Refusal(Kind.KEY_UNKNOWN, "the key is not known", hint="x"))
                future.set_result(auth_pb2.ResolveResult(error=error))
            else:
                whom = types_pb2.Principal(tenant_id=known.tenant_id, key_id=known.key_id)
                future.set_result(auth_pb2.ResolveResult(principal=whom, tenant_id=known.tenant_id))


@dataclass
class Nats:
    """The port of NATS: who listens for what."""

    listeners: dict[str, Callable[[Msg], Awaitable[None]]] = field(default_factory=dict)

    async def subscribe(self, subject: str, cb: Callable[[Msg], Awaitable[None]]) -> None:
        self.listeners[subject] = cb

    async def say(self, subject: str, data: bytes) -> None:
        await self.listeners[subject](Msg(_client=cast(Client, None), data=data))


async def principals_of(
    auth: Auth, nats: Nats | None = None, prefixes: tuple[str, ...] = principal.KNOWN_PREFIXES, **settings: Any
) -> Principals:
    made = Principals(
        lambda: cast(Decisions, auth),
        EdgeSettings(
            nats_url=Secret("x"),
            key_pepper=Secret(PEPPER.decode()),
            ledger_token=Secret("x"),
            journal_dir="unused",
            **settings,
        ),
        lambda: prefixes,
    )
    await made.listen(cast(Client, nats or Nats()))
    return made


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_key_stands_for_the_principal_that_auth_says() -> None:
    auth = Auth()
    assert await (await principals_of(auth)).of("sk-th-abc") == ACME
    assert auth.asked[0][0] == hash_of("sk-th-abc")


async def test_a_principal_knows_its_brand_its_models_and_its_addresses() -> None:
    auth = Auth(prompt=False)
    asking = asyncio.create_task((await principals_of(auth)).of("sk-th-abc"))
    await turn()
    whom = types_pb2.Principal(
        tenant_id="acme", key_id="key_1", brand="cc", models=["opus", "haiku"], addresses=["10.0.0.0/8", "::1"]
    )
    auth.asked[0][1].set_result(auth_pb2.ResolveResult(principal=whom, tenant_id="acme"))
    who = await asking
    assert (who.brand, who.models, who.addresses) == ("cc", frozenset({"opus", "haiku"}), ("10.0.0.0/8", "::1"))


async def test_a_resolved_key_is_remembered_whatever_prefix_it_bears() -> None:
    auth = Auth()
    principals = await principals_of(auth, prefixes=principal.longest_first(["cc_user_"]))
    for key in ("sk-th-abc", "abc", "cc_user_abc"):
        assert await principals.of(key) == ACME
    assert len(auth.asked) == 1


async def test_an_unknown_key_is_remembered_too_and_refused_with_an_exception_of_its_own() -> None:
    auth = Auth()
    principals = await principals_of(auth)
    refusals = []
    for _ in range(2):
        with pytest.raises(Refusal) as refused:
            await principals.of("unknown")
        refusals.append(refused.value)
    assert len(auth.asked) == 1
    assert refusals[0] is not refusals[1]
    assert [(refusal.kind, refusal.details) for refusal in refusals] == [(Kind.KEY_UNKNOWN, {"hint": "x"})] * 2


async def test_what_is_remembered_is_asked_anew_after_its_time() -> None:
    auth = Auth()
    principals = await principals_of(auth, principal_ttl_s=0.05)
    await principals.of("abc")
    await asyncio.sleep(0.06)
    auth.keys.clear()
    with pytest.raises(Refusal):
        await principals.of("abc")
    assert len(auth.asked) == 2


async def test_many_who_come_with_one_key_at_once_are_one_question() -> None:
    auth = Auth(prompt=False)
    principals = await principals_of(auth)
    waiting = [asyncio.create_task(principals.of("abc")) for _ in range(10)]
    await turn()
    auth.answer()
    assert await asyncio.gather(*waiting) == [ACME] * 10
    assert len(auth.asked) == 1


async def test_one_who_leaves_does_not_take_the_answer_from_the_others() -> None:
    auth = Auth(prompt=False)
    principals = await principals_of(auth)
    leaving, staying = (asyncio.create_task(principals.of("abc")) for _ in range(2))
    await turn()
    leaving.cancel()
    await turn()
    auth.answer()
    assert await staying == ACME


async def test_an_auth_that_does_not_answer_is_asked_again_by_the_next() -> None:
    auth = Auth(prompt=False)
    principals = await principals_of(auth)
    waiting = asyncio.create_task(principals.of("abc"))
    await turn()
    auth.asked[0][1].set_exception(Refusal(Kind.AUTH_UNAVAILABLE, "away"))
    with pytest.raises(Refusal) as refused:
        await waiting
    assert refused.value.kind is Kind.AUTH_UNAVAILABLE
    auth.prompt = True
    assert await principals.of("abc") == ACME


async def test_a_fault_of_ours_in_an_answer_is_not_remembered() -> None:
    auth = Auth(prompt=False)
    principals = await principals_of(auth)
    waiting = asyncio.create_task(principals.of("abc"))
    await turn()
    error = to_detail(Refusal(Kind.AUTH_UNAVAILABLE, "no database"))
    auth.asked[0][1].set_result(auth_pb2.ResolveResult(error=error))
    with pytest.raises(Refusal):
        await waiting
    auth.prompt = True
    assert await principals.of("abc") == ACME


async def test_a_changed_key_is_forgotten_at_once_and_others_are_not() -> None:
    auth, nats = Auth(), Nats()
    auth.keys[hash_of("xyz")] = Principal("other", "key_2", "default")
    principals = await principals_of(auth, nats)
    await principals.of("abc")
    await principals.of("xyz")
    auth.keys.clear()
    await nats.say(bus.KEY_CHANGED, hash_of("abc"))
    assert (await principals.of("xyz")).tenant_id == "other"
    with pytest.raises(Refusal):
        await principals.of("abc")


async def test_all_keys_of_a_changed_tenant_are_forgotten_at_once_and_others_are_not() -> None:
    auth, nats = Auth(), Nats()
    auth.keys |= {
        hash_of("second"): Principal("acme", "key_3", "default"),
        hash_of("xyz"): Principal("other", "key_2", "default"),
    }
    principals = await principals_of(auth, nats)
    for key in ("abc", "second", "xyz"):
        await principals.of(key)
    auth.keys.clear()
    await nats.say(bus.TENANT_CHANGED, b"acme")
    assert (await principals.of("xyz")).tenant_id == "other"
    for key in ("abc", "second"):
        with pytest.raises(Refusal):
            await principals.of(key)


@pytest.mark.parametrize(
    ("subject", "data"), [(bus.KEY_CHANGED, hash_of("abc")), (bus.TENANT_CHANGED, b"acme")], ids=["key", "tenant"]
)
async def test_an_answer_older_than_a_change_is_given_but_not_remembered(subject: str, data: bytes) -> None:
    auth, nats = Auth(prompt=False), Nats()
    principals = await principals_of(auth, nats)
    before = asyncio.create_task(principals.of("abc"))
    await turn()
    await nats.say(subject, data)
    auth.answer()
    assert await before == ACME
    auth.keys.clear()
    auth.prompt = True
    with pytest.raises(Refusal):
        await principals.of("abc")


async def test_whoever_comes_after_a_change_does_not_join_a_question_asked_before_it() -> None:
    auth, nats = Auth(prompt=False), Nats()
    principals = await principals_of(auth, nats)
    before = asyncio.create_task(principals.of("abc"))
    await turn()
    auth.keys.clear()  # just after auth looked for the first time
    await nats.say(bus.KEY_CHANGED, hash_of("abc"))
    after = asyncio.create_task(principals.of("abc"))
    await turn()
    whom = types_pb2.Principal(tenant_id="acme", key_id="key_1")
    auth.asked[0][1].set_result(auth_pb2.ResolveResult(principal=whom, tenant_id="acme"))
    assert await before == ACME
    auth.prompt = True
    auth.answer()
    with pytest.raises(Refusal):
        await after
    with pytest.raises(Refusal):
        await principals.of("abc")


async def test_the_oldest_keys_are_forgotten_when_there_are_too_many() -> None:
    auth = Auth()
    principals = await principals_of(auth, principals=3)
    for number in range(5):
        auth.keys[hash_of(f"k{number}")] = Principal("acme", f"key_{number}", "default")
        await principals.of(f"k{number}")
    auth.asked.clear()
    for number in (2, 3, 4):
        await principals.of(f"k{number}")
    assert auth.asked == []
    await principals.of("k0")
    assert len(auth.asked) == 1


class Lost(Auth):
    """An auth that cannot tell."""

    def ask(self, field: str, item: auth_pb2.ResolveItem) -> asyncio.Future[auth_pb2.ResolveResult]:
        future: asyncio.Future[auth_pb2.ResolveResult] = asyncio.get_running_loop().create_future()
        future.set_exception(Refusal(Kind.AUTH_UNAVAILABLE, "away"))
        return future


async def test_another_replica_is_asked_where_the_first_is_lost() -> None:
    replicas = iter([Lost(), Auth()])
    principals = await principals_of(Auth())
    principals._auth = lambda: cast(Decisions, next(replicas))
    assert await principals.of("sk-th-abc") == ACME


async def test_a_known_key_counts_on_while_auth_cannot_tell_and_an_unknown_one_does_not() -> None:
    auth = Auth()
    principals = await principals_of(auth, principal_ttl_s=0)
    await principals.of("sk-th-abc")
    principals._auth = lambda: cast(Decisions, Lost())
    assert await principals.of("sk-th-abc") == ACME
    with pytest.raises(Refusal) as refused:
        await principals.of("sk-th-other")
    assert refused.value.kind is Kind.AUTH_UNAVAILABLE


async def test_a_known_key_counts_on_for_a_while_only() -> None:
    principals = await principals_of(Auth(), principal_ttl_s=0, principal_stale_s=0)
    await principals.of("sk-th-abc")
    principals._auth = lambda: cast(Decisions, Lost())
    with pytest.raises(Refusal):
        await principals.of("sk-th-abc")


async def test_a_change_that_was_heard_of_ends_what_was_known_though_auth_cannot_tell() -> None:
    nats = Nats()
    principals = await principals_of(Auth(), nats, principal_ttl_s=0)
    await principals.of("sk-th-abc")
    principals._auth = lambda: cast(Decisions, Lost())
    await nats.say(bus.KEY_CHANGED, hash_of("sk-th-abc"))
    with pytest.raises(Refusal):
        await principals.of("sk-th-abc")


async def test_hashes_under_further_peppers_are_sent_along() -> None:
    items = []

    class Listening(Auth):
        def ask(self, field: str, item: auth_pb2.ResolveItem) -> asyncio.Future[auth_pb2.ResolveResult]:
            items.append(item)
            return super().ask(field, item)

    principals = await principals_of(Listening(), other_key_peppers=Secret("old, older"))
    await principals.of("sk-th-abc")
    assert list(items[0].other_hashes) == [principal.key_hash("sk-th-abc", pepper) for pepper in (b"old", b"older")]
