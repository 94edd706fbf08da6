"""Secrets are changed without anybody noticing: both are known for a while, and then the old ones are not."""

import base64
import json
import os
from pathlib import Path

import psycopg

from services.shared.sealing import Sealer, Unsealable
from tests.api_callers import ApiCaller, caller_with
from tests.books import superuser_url
from tests.deployment import Deployment, deployed, eventually
from tests.second_factors import Enrolled, show, with_password
from tests.visitors import operator
from tollhouse.v1 import ledger_pb2, router_pb2

PEPPER, TOKEN = "f" * 64, "thst_" + "n" * 43
MASTER, CONSOLE = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))


def rotate(state_dir: Path) -> dict[str, str]:
    """Puts new secrets in place of the old. Answers the settings by which services know the old ones on."""
    path, master = state_dir / "secrets.json", state_dir / "master.key"
    secrets = json.loads(path.read_text())
    before = {
        "TOLLHOUSE_AUTH_OTHER_KEY_PEPPERS": secrets["key_pepper"],
        "TOLLHOUSE_EDGE_OTHER_KEY_PEPPERS": secrets["key_pepper"],
        "TOLLHOUSE_LEDGER_OTHER_INTERNAL_TOKENS": secrets["ledger_token"],
        "TOLLHOUSE_ROUTER_OTHER_MASTER_KEYS": master.read_text().strip(),
        "TOLLHOUSE_CONSOLE_OTHER_MASTER_KEYS": secrets["console_key"],
    }
    path.write_text(json.dumps(secrets | {"key_pepper": PEPPER, "ledger_token": TOKEN, "console_key": CONSOLE}))
    master.write_text(MASTER)
    return before


def topped_up(caller: ApiCaller, tenant_id: str) -> bool:
    """Tops up under the same idempotency key; whether the answer is that of an earlier call."""
    path, paid = f"/api/admin/v1/tenants/{tenant_id}/top-ups", {"amount_nano": 10**9, "reason": "once"}
    answer = caller.post(path, json=paid, headers={"idempotency-key": "the same"})
    assert answer.status_code in (200, 201), answer.text
    return "idempotency-replayed" in answer.headers


def all_resealed(tollhouse: Deployment) -> bool:
    """Whether everybody's codes are under the console's new key."""
    sealer = Sealer(base64.b64decode(CONSOLE))
    with psycopg.connect(superuser_url(tollhouse)) as connection:
        rows = connection.execute("SELECT person_id, sealed FROM console.one_time_codes").fetchall()
    try:
        return bool(rows) and all(sealer.open(bytes(sealed), person_id) for person_id, sealed in rows)
    except Unsealable:
        return False


def unsealable(tollhouse: Deployment) -> bool:
    return "credential_unsealable" in (tollhouse.state_dir / "log" / "router.log").read_text()


def test_keys_credentials_and_tokens_outlive_a_change_of_what_protects_them(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with deployed(state_dir) as tollhouse:
        used, unused = tollhouse.tenant(), tollhouse.tenant()
        assert tollhouse.messages(used.key).status == 200
        enrolled, caller = Enrolled.at(tollhouse), caller_with(operator(tollhouse), tollhouse, "admin:write")
        assert not topped_up(caller, used.tenant_id)
    old = rotate(state_dir)
    with deployed(state_dir, **old) as tollhouse:
        assert tollhouse.messages(used.key).status == 200
        made_since = tollhouse.tenant()
        assert tollhouse.messages(made_since.key).status == 200
        as_before = tollhouse.ledger_with(old["TOLLHOUSE_LEDGER_OTHER_INTERNAL_TOKENS"])
        assert as_before.ListReplicas(ledger_pb2.ListReplicasRequest()).replicas
        assert topped_up(ApiCaller(tollhouse, caller.token), used.tenant_id)
        assert show(with_password(tollhouse, enrolled.email), enrolled.recovery_codes[0]) == 303
        eventually(lambda: all_resealed(tollhouse))
        enrolled_since = Enrolled.at(tollhouse)
        resealed = tollhouse.router.ResealCredentials(router_pb2.ResealCredentialsRequest())
        assert (resealed.resealed, list(resealed.unsealable)) == (1, [])
        assert tollhouse.command("account", "reseal") == "0 sealed anew"
        assert tollhouse.messages(used.key).status == 200
    with deployed(state_dir) as tollhouse:
        eventually(lambda: tollhouse.messages(used.key).status == 200)
        assert tollhouse.messages(made_since.key).status == 200
        assert tollhouse.messages(unused.key).status == 401  # nobody used it while both peppers were known
        assert not unsealable(tollhouse)
        for person in (enrolled, enrolled_since):
            assert show(with_password(tollhouse, person.email), person.code()) == 303
            assert show(with_password(tollhouse, person.email), person.recovery_codes[1]) == 303
