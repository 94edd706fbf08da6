"""Receipts over HTTP and on the command line: signed once, checked anywhere, for good."""

import base64
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.shared import ids
from tests.deployment import COMMAND, Deployment, Tenant, deployed, message

KEYS_PATH = "/.well-known/tollhouse-receipt-keys.json"


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def fetched(tollhouse: Deployment, tenant: Tenant) -> str:
    request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
    answer = tollhouse.call("GET", f"/v1/usage/{request_id}/receipt", {"x-api-key": tenant.key})
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"] == "application/jwt"
    return answer.body.decode()


def verify(tollhouse: Deployment, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [COMMAND, "receipt", "verify", *arguments, "--state-dir", str(tollhouse.state_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_receipt_says_what_the_usage_says_and_its_signature_is_good(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    header, payload, signature = fetched(tollhouse, tenant).split(".")
    assert json.loads(decoded(header))["typ"] == "tollhouse-receipt+jwt"
    said = json.loads(decoded(payload))
    usage = tollhouse.usage_of(tenant.key, said["request_id"]).json()
    assert said["tenant_id"] == tenant.tenant_id
    for name in ("model", "status", "input_tokens", "cost_nano", "price_version", "multiplier_ppm", "created_at"):
        assert said[name] == usage[name]
    answer = tollhouse.call("GET", KEYS_PATH)
    assert "max-age" in answer.headers["cache-control"]
    keys = {key["kid"]: key for key in answer.json()["keys"]}
    key = keys[json.loads(decoded(header))["kid"]]
    assert (key["kty"], key["crv"]) == ("OKP", "Ed25519")
    public_key = Ed25519PublicKey.from_public_bytes(decoded(key["x"]))
    public_key.verify(decoded(signature), f"{header}.{payload}".encode())  # raises when it is not good


def test_a_receipt_is_the_same_whenever_it_is_asked_for(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    receipt = fetched(tollhouse, tenant)
    request_id = json.loads(decoded(receipt.split(".")[1]))["request_id"]
    command = [COMMAND, "receipt", "get", request_id, "--state-dir", str(tollhouse.state_dir)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == receipt


def test_what_was_never_settled_has_no_receipt(tollhouse: Deployment) -> None:
    path = f"/v1/usage/{ids.request_id()}/receipt"
    assert tollhouse.call("GET", path, {"x-api-key": tollhouse.key}).status == 404


@pytest.mark.parametrize("source", ["keys", "url", "ledger"])
def test_a_receipt_is_checked_offline_and_by_asking(tollhouse: Deployment, tmp_path: Path, source: str) -> None:
    tenant = tollhouse.tenant()
    (tmp_path / "receipt").write_text(fetched(tollhouse, tenant) + "\n")
    (tmp_path / "keys.json").write_bytes(tollhouse.call("GET", KEYS_PATH).body)
    options = {"keys": ["--keys", str(tmp_path / "keys.json")], "url": ["--url", tollhouse.base_url], "ledger": []}
    checked = verify(tollhouse, str(tmp_path / "receipt"), *options[source])
    assert checked.returncode == 0, checked.stderr
    assert f'"tenant_id": "{tenant.tenant_id}"' in checked.stdout
    assert "signature is good" in checked.stdout


def test_a_receipt_that_was_changed_is_found_out(tollhouse: Deployment, tmp_path: Path) -> None:
    header, payload, signature = fetched(tollhouse, tollhouse.tenant()).split(".")
    said = json.loads(decoded(payload)) | {"cost_nano": 1}
    forged = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    (tmp_path / "receipt").write_text(f"{header}.{forged}.{signature}")
    checked = verify(tollhouse, str(tmp_path / "receipt"))
    assert checked.returncode == 1
    assert "not genuine" in checked.stderr
    assert "cost_nano" not in checked.stdout


def test_bodies_are_compared_with_the_digests_that_were_signed(tollhouse: Deployment, tmp_path: Path) -> None:
    receipt = fetched(tollhouse, tollhouse.tenant())
    (tmp_path / "receipt").write_text(receipt)
    (tmp_path / "body").write_bytes(b"another body")
    said = json.loads(decoded(receipt.split(".")[1]))
    checked = verify(tollhouse, str(tmp_path / "receipt"), "--request", str(tmp_path / "body"))
    assert checked.returncode == 1
    expected = "is not what was signed" if "request_sha256" in said else "has no request_sha256"
    assert expected in checked.stderr
    assert said.get("request_sha256") != hashlib.sha256(b"another body").hexdigest()


def test_the_bodies_as_the_client_knows_them_are_those_that_were_signed(tollhouse: Deployment, tmp_path: Path) -> None:
    tenant = tollhouse.tenant()
    for stream in (False, True):
        body = json.dumps(message(stream=stream)).encode()
        answer = tollhouse.call("POST", "/v1/messages", {"x-api-key": tenant.key}, body)
        tollhouse.usage_of(tenant.key, answer.headers["x-request-id"])
        path = f"/v1/usage/{answer.headers['x-request-id']}/receipt"
        files = {name: tmp_path / f"{name}-{stream}" for name in ("receipt", "request", "response")}
        files["receipt"].write_bytes(tollhouse.call("GET", path, {"x-api-key": tenant.key}).body)
        files["request"].write_bytes(body)
        files["response"].write_bytes(answer.body)
        bodies = ["--request", str(files["request"]), "--response", str(files["response"])]
        done = verify(tollhouse, str(files["receipt"]), *bodies)
        assert done.returncode == 0, done.stderr
        files["response"].write_bytes(answer.body + b" ")
        assert verify(tollhouse, str(files["receipt"]), *bodies).returncode == 1


def test_receipts_of_an_earlier_key_stay_good_after_a_rotation(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    with deployed(state_dir) as before:
        receipt = fetched(before, before.tenant())
        before_keys = before.call("GET", KEYS_PATH).json()["keys"]
    (state_dir / "receipt.key").write_bytes(base64.b64encode(os.urandom(32)))
    (tmp_path / "receipt").write_text(receipt)
    with deployed(state_dir) as after:
        keys = after.call("GET", KEYS_PATH).json()["keys"]
        assert [key["kid"] for key in keys[1:]] == [key["kid"] for key in before_keys]
        assert verify(after, str(tmp_path / "receipt")).returncode == 0
        assert before.ready["usage_token"] == after.ready["usage_token"]
