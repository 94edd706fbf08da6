"""While the pepper of keys is changed a key goes to the one that auth puts first, whichever its callers do."""

import json

import psycopg
import pytest

from services.doctor import database
from services.doctor.finding import Finding, Verdict
from services.shared.principal import key_hash, pepper_id
from tests.books import superuser_url
from tests.deployment import Deployment, Tenant
from tollhouse.v1 import auth_pb2

OTHER = b"a pepper that edges know beside ours"


@pytest.fixture
def own(tollhouse: Deployment) -> bytes:
    """The pepper that auth puts first."""
    found: str = json.loads((tollhouse.state_dir / "secrets.json").read_text())["key_pepper"]
    return found.encode()


def asked(tollhouse: Deployment, tenant: Tenant, *peppers: bytes, says_which: bool = True) -> str:
    """Whose key auth says it is, asked by an edge that knows these peppers, its first one first."""
    first, *others = (key_hash(tenant.key, pepper) for pepper in peppers)
    item = auth_pb2.ResolveItem(id=1, key_hash=first, other_hashes=others)
    if says_which:
        item.pepper_id, *item.other_pepper_ids[:] = (pepper_id(pepper) for pepper in peppers)
    return tollhouse.auth.Decide(auth_pb2.AuthDecideRequest(resolve=[item])).resolve[0].tenant_id


def kept(tollhouse: Deployment, tenant: Tenant) -> tuple[bytes, bytes | None]:
    """The key's hash, and which pepper is noted."""
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        row = connection.execute(
            "SELECT key_hash, pepper_id FROM auth.keys WHERE tenant_id = %s", (tenant.tenant_id,)
        ).fetchone()
    assert row is not None
    return row[0], row[1]


def keep(tollhouse: Deployment, tenant: Tenant, pepper: bytes, noted: bytes | None) -> None:
    """Has a key under another pepper, as before a change."""
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        connection.execute(
            "UPDATE auth.keys SET key_hash = %s, pepper_id = %s WHERE tenant_id = %s",
            (key_hash(tenant.key, pepper), noted, tenant.tenant_id),
        )


def peppers_seen(tollhouse: Deployment) -> Finding:
    found = database.examine(superuser_url(tollhouse), skew_max_s=60)
    return next(finding for finding in found if finding.about == "pepper of keys")


def test_an_edge_that_puts_another_pepper_first_does_not_take_a_key_away_from_ours(
    tollhouse: Deployment, own: bytes
) -> None:
    tenant = tollhouse.tenant()
    for peppers in ((OTHER, own), (own, OTHER)):
        assert asked(tollhouse, tenant, *peppers) == tenant.tenant_id
        assert kept(tollhouse, tenant) == (key_hash(tenant.key, own), pepper_id(own))


def test_a_key_under_another_pepper_comes_to_ours_whoever_asks(tollhouse: Deployment, own: bytes) -> None:
    for peppers in ((OTHER, own), (own, OTHER)):
        tenant = tollhouse.tenant()
        keep(tollhouse, tenant, OTHER, pepper_id(OTHER))
        assert asked(tollhouse, tenant, *peppers) == tenant.tenant_id
        assert kept(tollhouse, tenant) == (key_hash(tenant.key, own), pepper_id(own))


def test_a_key_stays_where_it_is_for_edges_that_do_not_know_our_pepper_or_do_not_say(
    tollhouse: Deployment, own: bytes
) -> None:
    tenant = tollhouse.tenant()
    keep(tollhouse, tenant, OTHER, None)
    before = kept(tollhouse, tenant)
    assert asked(tollhouse, tenant, OTHER) == tenant.tenant_id
    assert asked(tollhouse, tenant, own, OTHER, says_which=False) == tenant.tenant_id
    assert kept(tollhouse, tenant) == before
    assert peppers_seen(tollhouse).verdict is Verdict.WARNING  # who knows under which it is
    asked(tollhouse, tenant, own, OTHER)
    assert peppers_seen(tollhouse).verdict is Verdict.OK


@pytest.mark.parametrize("noted", [None, pepper_id(OTHER)])
def test_the_pepper_of_a_key_is_noted_when_it_is_used(tollhouse: Deployment, own: bytes, noted: bytes | None) -> None:
    tenant = tollhouse.tenant()
    keep(tollhouse, tenant, own, noted)
    assert asked(tollhouse, tenant, own) == tenant.tenant_id
    assert kept(tollhouse, tenant) == (key_hash(tenant.key, own), pepper_id(own))


def test_the_doctor_says_how_many_keys_are_under_a_pepper_of_before(tollhouse: Deployment, own: bytes) -> None:
    tenant = tollhouse.tenant()
    assert peppers_seen(tollhouse).verdict is Verdict.OK
    keep(tollhouse, tenant, OTHER, pepper_id(OTHER))
    found = peppers_seen(tollhouse)
    assert found.verdict is Verdict.WARNING
    assert f"1 under {pepper_id(OTHER).hex()}" in found.seen
    asked(tollhouse, tenant, own, OTHER)
    assert peppers_seen(tollhouse).verdict is Verdict.OK
