"""Secrets are changed without anybody noticing: both are known for a while, and then the old ones are not."""

import base64
import json
import os
from pathlib import Path

from tests.deployment import Deployment, deployed, eventually
from tollhouse.v1 import ledger_pb2, router_pb2

PEPPER, TOKEN, MASTER = "f" * 64, "thst_" + "n" * 43, base64.b64encode(os.urandom(32)).decode()


def rotate(state_dir: Path) -> dict[str, str]:
    """Puts new secrets in place of the old. Answers the settings by which services know the old ones on."""
    path, master = state_dir / "secrets.json", state_dir / "master.key"
    secrets = json.loads(path.read_text())
    before = {
        "TOLLHOUSE_AUTH_OTHER_KEY_PEPPERS": secrets["key_pepper"],
        "TOLLHOUSE_EDGE_OTHER_KEY_PEPPERS": secrets["key_pepper"],
        "TOLLHOUSE_LEDGER_OTHER_INTERNAL_TOKENS": secrets["ledger_token"],
        "TOLLHOUSE_ROUTER_OTHER_MASTER_KEYS": master.read_text().strip(),
    }
    path.write_text(json.dumps(secrets | {"key_pepper": PEPPER, "ledger_token": TOKEN}))
    master.write_text(MASTER)
    return before


def unsealable(tollhouse: Deployment) -> bool:
    return "credential_unsealable" in (tollhouse.state_dir / "log" / "router.log").read_text()


def test_keys_credentials_and_tokens_outlive_a_change_of_what_protects_them(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with deployed(state_dir) as tollhouse:
        used, unused = tollhouse.tenant(), tollhouse.tenant()
        assert tollhouse.messages(used.key).status == 200
    old = rotate(state_dir)
    with deployed(state_dir, **old) as tollhouse:
        assert tollhouse.messages(used.key).status == 200
        made_since = tollhouse.tenant()
        assert tollhouse.messages(made_since.key).status == 200
        as_before = tollhouse.ledger_with(old["TOLLHOUSE_LEDGER_OTHER_INTERNAL_TOKENS"])
        assert as_before.ListReplicas(ledger_pb2.ListReplicasRequest()).replicas
        resealed = tollhouse.router.ResealCredentials(router_pb2.ResealCredentialsRequest())
        assert (resealed.resealed, list(resealed.unsealable)) == (1, [])
        assert tollhouse.command("account", "reseal") == "0 sealed anew"
        assert tollhouse.messages(used.key).status == 200
    with deployed(state_dir) as tollhouse:
        eventually(lambda: tollhouse.messages(used.key).status == 200)
        assert tollhouse.messages(made_since.key).status == 200
        assert tollhouse.messages(unused.key).status == 401  # nobody used it while both peppers were known
        assert not unsealable(tollhouse)
