"""Keys on the console's pages, and that what is said there holds at the edge."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from services.shared import clock, ids
from tests.customers import KEYS, customer_with_credit, edit_key, make_key
from tests.deployment import MODEL, Deployment, eventually
from tests.visitors import Visitor, customer, operator, text_of
from tollhouse.v1 import auth_pb2, types_pb2


@pytest.fixture
def visitor(tollhouse: Deployment) -> Visitor:
    return customer_with_credit(tollhouse)


def status(tollhouse: Deployment, secret: str, **fields: object) -> int:
    return tollhouse.messages(secret, **fields).status  # type: ignore[arg-type]


def stored(tollhouse: Deployment, path: str) -> auth_pb2.Key:
    listed = tollhouse.auth.ListKeys(auth_pb2.ListKeysRequest())
    return next(key for key in listed.keys if path.endswith(key.key_id))


def test_a_key_is_shown_once_works_and_is_listed_masked(tollhouse: Deployment, visitor: Visitor) -> None:
    path, secret = make_key(visitor, name="production")
    assert status(tollhouse, secret) == 200
    for page in (KEYS, path, f"{KEYS}/delete?key={path.rpartition('/')[2]}"):
        shown = visitor.get(page).text
        assert "production" in shown
        assert secret not in shown
        assert secret[-4:] in shown


def test_every_field_of_the_form_reaches_auth(tollhouse: Deployment, visitor: Visitor) -> None:
    path, _ = make_key(
        visitor,
        name="everything",
        expires="2030-01-31T18:00",
        spend_cap="2.50",
        plan="starter",
        models=[MODEL, "claude-haiku-4-5"],
        addresses="203.0.113.7\n2001:db8::/32",
        limit_requests="60",
        limit_tokens="1000",
        limit_input_tokens="900",
        limit_output_tokens="800",
        limit_concurrent="3",
    )
    key = stored(tollhouse, path)
    assert (key.name, key.spend_cap_nano, key.plan, key.group) == ("everything", 2_500_000_000, "starter", "default")
    assert key.expires_ms == int(datetime(2030, 1, 31, 18, tzinfo=UTC).timestamp() * 1000)
    assert list(key.models) == ["claude-haiku-4-5", MODEL]
    assert list(key.addresses) == ["203.0.113.7", "2001:db8::/32"]
    assert sorted((limit.metric, limit.amount) for limit in key.limits) == [
        (1, 60),
        (2, 1000),
        (3, 900),
        (4, 800),
        (5, 3),
    ]


def test_a_form_sent_twice_makes_one_key(tollhouse: Deployment, visitor: Visitor) -> None:
    once = ids.ulid()
    first = visitor.send(f"{KEYS}/new", KEYS, name="twice", idempotency_key=once)
    again = visitor.send(f"{KEYS}/new", KEYS, name="twice", idempotency_key=once)
    assert first.status_code == 200
    assert again.status_code == 303
    assert visitor.get(KEYS).text.count(">twice</a>") == 1


def test_a_list_of_models_and_of_addresses_holds(tollhouse: Deployment, visitor: Visitor) -> None:
    _, of_model = make_key(visitor, models="claude-haiku-4-5")
    assert status(tollhouse, of_model, model="claude-haiku-4-5") == 200
    assert status(tollhouse, of_model, model=MODEL) == 403
    _, of_address = make_key(visitor, addresses="203.0.113.7")
    assert status(tollhouse, of_address) == 403


def test_limits_of_a_new_key_and_its_spend_cap_hold(tollhouse: Deployment, visitor: Visitor) -> None:
    _, limited = make_key(visitor, limit_requests="1")
    assert [status(tollhouse, limited), status(tollhouse, limited)] == [200, 429]
    _, capped = make_key(visitor, spend_cap="0.000001")
    assert status(tollhouse, capped) == 402


def test_a_key_that_expires_is_refused_from_then_on(tollhouse: Deployment, visitor: Visitor) -> None:
    path, secret = make_key(visitor)
    assert status(tollhouse, secret) == 200
    key = stored(tollhouse, path)
    key.expires_ms = clock.now_ms() + 1000
    tollhouse.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=key))
    eventually(lambda: status(tollhouse, secret) == 401)
    eventually(lambda: "expired" in text_of(visitor.get(path)))


def test_an_edit_replaces_everything_and_holds_at_once(tollhouse: Deployment, visitor: Visitor) -> None:
    path, secret = make_key(visitor, name="before", spend_cap="1", limit_requests="5")
    assert status(tollhouse, secret) == 200
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    answer = edit_key(visitor, path, name="after", expires=tomorrow, group="default", models="claude-haiku-4-5")
    assert (answer.status_code, answer.headers["location"]) == (303, path)
    key = stored(tollhouse, path)
    assert (key.name, list(key.limits), key.HasField("spend_cap_nano")) == ("after", [], False)
    assert key.expires_ms > clock.now_ms()
    eventually(lambda: status(tollhouse, secret, model=MODEL) == 403)
    assert "after" in text_of(visitor.get(KEYS))


def test_what_is_wrong_is_said_beside_its_field_and_changes_nothing(tollhouse: Deployment, visitor: Visitor) -> None:
    path, _ = make_key(visitor, name="stays")
    answer = edit_key(visitor, path, name="changed", addresses="10.0.0.1/8")
    assert answer.status_code == 422
    assert "has host bits set" in text_of(answer)
    assert 'name="name" type="text" value="changed"' in answer.text
    assert stored(tollhouse, path).name == "stays"
    answer = visitor.send(f"{KEYS}/new", KEYS, name="x", expires="2001-01-01T00:00", group="operators")
    assert answer.status_code == 422
    assert "This is in the past." in text_of(answer)


def test_customers_choose_among_the_groups_and_plans_that_are_open(tollhouse: Deployment, visitor: Visitor) -> None:
    for field, closed in (("group", "private"), ("plan", "enterprise")):
        answer = visitor.send(f"{KEYS}/new", KEYS, **{"name": "x", field: closed})
        assert answer.status_code == 422, text_of(answer)


def test_a_key_can_be_disabled_and_enabled(tollhouse: Deployment, visitor: Visitor) -> None:
    path, secret = make_key(visitor)
    assert visitor.send(path, f"{path}/disable").status_code == 303
    eventually(lambda: status(tollhouse, secret) == 403)
    assert visitor.send(path, f"{path}/enable").status_code == 303
    eventually(lambda: status(tollhouse, secret) == 200)


def test_keys_are_deleted_alone_or_together(tollhouse: Deployment, visitor: Visitor) -> None:
    made = [make_key(visitor, name=f"doomed {number}") for number in range(3)]
    ids_of = [path.rpartition("/")[2] for path, _ in made]
    asked = visitor.get(f"{KEYS}/delete", params={"key": ids_of[1:]})
    assert "doomed 1" in text_of(asked)
    assert "doomed 0" not in text_of(asked)
    page = f"{KEYS}/delete?key={ids_of[1]}"
    answer = visitor.client.post(f"{KEYS}/delete", data={"csrf_token": visitor.token(page), "key": ids_of[1:]})
    assert answer.status_code == 303
    assert visitor.send(made[0][0], f"{made[0][0]}/delete").status_code == 303
    assert "No keys yet" in text_of(visitor.get(KEYS))
    for _, secret in made:
        eventually(lambda secret=secret: status(tollhouse, secret) == 401)  # type: ignore[misc]
    assert visitor.get(made[0][0]).status_code == 404


def test_a_search_finds_by_name_and_by_what_is_shown(visitor: Visitor) -> None:
    make_key(visitor, name="Nightly evaluation")
    _, secret = make_key(visitor, name="laptop")
    assert "laptop" not in visitor.get(KEYS, params={"q": "nightly"}).text
    assert "laptop" in text_of(visitor.get(KEYS, params={"q": secret[-4:]}))
    assert "Nothing found" in text_of(visitor.get(KEYS, params={"q": "<script>alert(1)</script>"}))
    assert "<script>alert" not in visitor.get(KEYS, params={"q": "<script>alert(1)</script>"}).text


def test_a_long_list_has_pages(tollhouse: Deployment, visitor: Visitor) -> None:
    path, _ = make_key(visitor, name="number 0")
    tenant_id = stored(tollhouse, path).tenant_id
    for number in range(1, 51):
        tollhouse.auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id=tenant_id, name=f"number {number}"))
    newest, oldest = visitor.get(KEYS), visitor.get(KEYS, params={"page": "1"})
    assert "number 50" in text_of(newest)
    assert "number 0 " not in text_of(newest)
    assert "51 keys" in text_of(newest)
    assert "number 0 " in text_of(oldest)
    assert "Older" not in text_of(oldest)
    assert visitor.get(KEYS, params={"page": "-1"}).status_code == 200


def test_a_name_is_text_wherever_it_stands(visitor: Visitor) -> None:
    name = '"><img src=x onerror=alert(1)>'
    path, _ = make_key(visitor, name=name)
    for page in (KEYS, path, "/dashboard/usage", "/dashboard/models", f"{KEYS}/delete?key={path.rpartition('/')[2]}"):
        shown = visitor.get(page)
        assert shown.status_code == 200
        assert "<img" not in shown.text


def test_another_tenants_key_does_not_exist(tollhouse: Deployment, visitor: Visitor) -> None:
    path, secret = make_key(visitor, name="mine")
    for other in (customer(tollhouse), operator(tollhouse)):
        assert other.get(path).status_code == 404
        token = f"{KEYS}/new"
        for change in ("", "/disable", "/enable", "/reveal", "/delete"):
            assert other.send(token, f"{path}{change}", name="theirs").status_code == 404, change
        assert other.send(token, f"{KEYS}/delete", key=path.rpartition("/")[2]).status_code == 303
        assert "mine" not in other.get(f"{KEYS}/delete?key={path.rpartition('/')[2]}", follow_redirects=True).text
    assert status(tollhouse, secret) == 200
    assert stored(tollhouse, path).name == "mine"


@pytest.fixture
def revealing(tollhouse: Deployment) -> Iterator[auth_pb2.Brand]:
    brand = auth_pb2.Brand(
        name="revealing", hosts=["revealing.example"], key_prefix="rv_", reveal=True, mask="{first4}**********{last4}"
    )
    yield tollhouse.auth.PutBrand(auth_pb2.PutBrandRequest(brand=brand)).brand
    for key in tollhouse.auth.ListKeys(auth_pb2.ListKeysRequest()).keys:
        if key.brand == brand.name:
            tollhouse.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=key.key_id))
    tollhouse.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=brand.name))


def test_a_brand_that_reveals_shows_a_key_again_by_an_explicit_call(
    tollhouse: Deployment, revealing: auth_pb2.Brand
) -> None:
    visitor = Visitor.of(tollhouse, host="revealing.example")
    assert visitor.register(f"{ids.ulid()}@tests.example").status_code == 303
    eventually(lambda: "revealing" in visitor.get(KEYS).text)
    path, secret = make_key(visitor)
    assert secret.startswith("rv_")
    assert f"{secret[:4]}**********{secret[-4:]}" in text_of(visitor.get(KEYS))
    assert secret not in visitor.get(path).text
    assert secret in visitor.send(path, f"{path}/reveal").text
    assert visitor.get(f"{path}/reveal").status_code == 405


def test_a_key_of_a_brand_that_does_not_reveal_stays_hidden(visitor: Visitor) -> None:
    path, secret = make_key(visitor)
    answer = visitor.send(path, f"{path}/reveal")
    assert answer.status_code == 400
    assert secret not in answer.text


# ---- auth's part ----


def test_a_key_is_updated_whole_or_not_at_all(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    key = stored(tollhouse, tenant.key_id)
    key.name, key.plan = "renamed", "no-such-plan"
    with pytest.raises(Exception, match="no plan"):
        tollhouse.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=key))
    assert stored(tollhouse, tenant.key_id).name == "test"
    key.plan, key.tenant_id = "", "somebody-else"
    with pytest.raises(Exception, match="no key"):
        tollhouse.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=key))
    key.tenant_id = tenant.tenant_id
    key.limits.add(metric=types_pb2.LIMIT_METRIC_REQUESTS, amount=7, model=MODEL)
    changed = tollhouse.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=key)).key
    assert changed == stored(tollhouse, tenant.key_id)
    assert (changed.name, changed.limits[0].amount) == ("renamed", 7)
