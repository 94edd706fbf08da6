"""Brands, what keys may call and who may see them again: real services, over gRPC and by the operator's commands."""

import json
import subprocess
from pathlib import Path

import grpc
import pytest

from services.shared.errors import TRAILER
from services.shared.ids import ulid
from services.shared.principal import key_hash, longest_first
from tests.deployment import COMMAND, ROOT, Deployment, Tenant
from tollhouse.v1 import auth_pb2, types_pb2


def run(tollhouse: Deployment, *arguments: str, fails: bool = False) -> str:
    """Runs a command; its standard output, or standard error when it is to fail."""
    command = [COMMAND, *arguments, "--state-dir", str(tollhouse.state_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == (1 if fails else 0), done.stderr
    return (done.stderr if fails else done.stdout).strip()


def put(tollhouse: Deployment, brand: auth_pb2.Brand) -> auth_pb2.Brand:
    return tollhouse.auth.PutBrand(auth_pb2.PutBrandRequest(brand=brand)).brand


def listed(tollhouse: Deployment) -> dict[str, auth_pb2.Brand]:
    return {brand.name: brand for brand in tollhouse.auth.ListBrands(auth_pb2.ListBrandsRequest()).brands}


def resolved(tollhouse: Deployment, secret: str) -> types_pb2.Principal:
    """Whom a key stands for, as an edge asks it: with the prefixes of all brands."""
    pepper = json.loads((tollhouse.state_dir / "secrets.json").read_text())["key_pepper"].encode()
    prefixes = longest_first(brand.key_prefix for brand in listed(tollhouse).values())
    item = auth_pb2.ResolveItem(id=1, key_hash=key_hash(secret, pepper, prefixes))
    return tollhouse.auth.Decide(auth_pb2.AuthDecideRequest(resolve=[item])).resolve[0].principal


def refusal(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    assert isinstance(error.value, grpc.Call)
    trailer = next(value for name, value in error.value.trailing_metadata() if name == TRAILER)
    assert isinstance(trailer, bytes)
    return types_pb2.ErrorDetail.FromString(trailer).message


@pytest.fixture
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant()


@pytest.fixture
def name() -> str:
    """A brand's name that no other test has."""
    return f"b-{ulid()}"


def created(tollhouse: Deployment, tenant: Tenant, **fields: object) -> auth_pb2.CreateKeyResponse:
    asked = auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="k", **fields)  # type: ignore[arg-type]
    return tollhouse.auth.CreateKey(asked)


def test_every_example_is_applied_shown_listed_and_deleted(tollhouse: Deployment, tmp_path: Path) -> None:
    for file in sorted((ROOT / "examples" / "brands").glob("*.toml")):
        assert run(tollhouse, "brand", "apply", "-f", str(file)).startswith(
            f"{file.stem}: hosts {file.stem}.example.com"
        )
        shown = run(tollhouse, "brand", "show", file.stem)
        again = tmp_path / "again.toml"
        again.write_text(shown)
        run(tollhouse, "brand", "apply", "-f", str(again))
        assert run(tollhouse, "brand", "show", file.stem) == shown
    assert {"buzz", "cc", "haze", "cheap"} <= listed(tollhouse).keys()
    assert "api/proxy" in run(tollhouse, "brand", "list")
    for brand in ("buzz", "cc", "haze", "cheap"):
        run(tollhouse, "brand", "delete", brand)
    assert not {"buzz", "cc", "haze", "cheap"} & listed(tollhouse).keys()


def test_a_faulty_file_is_refused_by_the_name_of_its_field(tollhouse: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "brand.toml"
    for text, said in (
        ("name = 'x'\ncolour = 1", "colour: "),
        ("name = 'x'\nunknown_model_status = 500", "unknown_mo"),
    ):
        file.write_text(text)
        assert said in run(tollhouse, "brand", "apply", "-f", str(file), fails=True)
    assert "no brand 'nobody'" in run(tollhouse, "brand", "show", "nobody", fails=True)


def test_a_host_is_of_one_brand_and_what_is_refused_changes_nothing(tollhouse: Deployment, name: str) -> None:
    host = f"{ulid().lower()}.example"
    put(tollhouse, auth_pb2.Brand(name=name, hosts=[host]))
    with pytest.raises(grpc.RpcError) as refused:
        put(tollhouse, auth_pb2.Brand(name=f"{name}-2", hosts=["free.example", host]))
    assert host in refusal(refused)
    assert f"{name}-2" not in listed(tollhouse)
    put(tollhouse, auth_pb2.Brand(name=name, hosts=["other.example", host]))
    assert listed(tollhouse)[name].hosts == ["other.example", host]
    tollhouse.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=name))


def test_one_brand_is_the_default_one_and_keys_of_no_brand_are_its(
    tollhouse: Deployment, tenant: Tenant, name: str
) -> None:
    assert created(tollhouse, tenant).key.brand == ""
    put(tollhouse, auth_pb2.Brand(name=name, is_default=True))
    second = put(tollhouse, auth_pb2.Brand(name=f"{name}-2", key_prefix="two_", is_default=True))
    assert [brand for brand in listed(tollhouse).values() if brand.is_default] == [second]
    made = created(tollhouse, tenant)
    assert made.key.brand == second.name
    assert made.secret.startswith("two_")
    second.is_default = False
    put(tollhouse, second)
    assert created(tollhouse, tenant).key.brand == ""


def test_a_key_has_its_brands_prefix_and_mask_and_its_principal_knows_the_brand(
    tollhouse: Deployment, tenant: Tenant, name: str
) -> None:
    put(tollhouse, auth_pb2.Brand(name=name, key_prefix="sk-house-", mask="{first4}****{last4}"))
    made = created(tollhouse, tenant, brand=name, models=["opus"], addresses=["10.0.0.0/8", "::1"])
    assert made.secret.startswith("sk-house-")
    assert made.key.hint == f"sk-h****{made.secret[-4:]}"
    who = resolved(tollhouse, made.secret)
    assert (who.key_id, who.brand) == (made.key.key_id, name)
    assert (list(who.models), list(who.addresses)) == (["opus"], ["10.0.0.0/8", "::1"])
    assert types_pb2.Policy.FromString(who.policy).brand == name


def test_a_brand_that_keys_have_is_kept_with_its_prefix(tollhouse: Deployment, tenant: Tenant, name: str) -> None:
    put(tollhouse, auth_pb2.Brand(name=name, key_prefix="kept_"))
    key_id = created(tollhouse, tenant, brand=name).key.key_id
    with pytest.raises(grpc.RpcError) as refused:
        put(tollhouse, auth_pb2.Brand(name=name, key_prefix="other_"))
    assert refusal(refused).startswith("key_prefix: ")
    assert "in use" in run(tollhouse, "brand", "delete", name, fails=True)
    run(tollhouse, "key", "delete", key_id)
    run(tollhouse, "brand", "delete", name)
    with pytest.raises(grpc.RpcError) as unknown:
        created(tollhouse, tenant, brand=name)
    assert refusal(unknown) == f"there is no brand {name!r}"


def test_a_key_is_shown_again_only_while_its_brand_shows_keys(tollhouse: Deployment, tenant: Tenant, name: str) -> None:
    put(tollhouse, auth_pb2.Brand(name=name, reveal=True))
    made = created(tollhouse, tenant, brand=name)
    assert made.key.revealable
    assert run(tollhouse, "key", "reveal", made.key.key_id) == made.secret
    put(tollhouse, auth_pb2.Brand(name=name, reveal=False))
    assert "no copy" in run(tollhouse, "key", "reveal", made.key.key_id, fails=True)
    put(tollhouse, auth_pb2.Brand(name=name, reveal=True))
    assert "no copy" in run(tollhouse, "key", "reveal", made.key.key_id, fails=True)
    assert resolved(tollhouse, made.secret).key_id == made.key.key_id
    plain = created(tollhouse, tenant)
    assert not plain.key.revealable
    assert "no copy" in run(tollhouse, "key", "reveal", plain.key.key_id, fails=True)
    assert "no key" in run(tollhouse, "key", "reveal", "key_nobody", fails=True)


def test_what_a_key_may_call_is_set_by_options_and_what_none_names_stays(
    tollhouse: Deployment, tenant: Tenant, name: str
) -> None:
    add = ("key", "add", tenant.tenant_id, "--name", name, "--model", "opus", "--address", "203.0.113.7/32")
    secret = run(tollhouse, *add)
    key_id = resolved(tollhouse, secret).key_id
    assert resolved(tollhouse, secret).addresses == ["203.0.113.7"]
    said = run(tollhouse, "key", "access", key_id, "--model", "haiku", "--model", "opus")
    assert said == f"{key_id}: models haiku, opus, addresses 203.0.113.7"
    said = run(tollhouse, "key", "access", key_id, "--address", "fd00::/8", "--any-model")
    assert said == f"{key_id}: models -, addresses fd00::/8"
    assert "10.0.0.1/8" in run(tollhouse, "key", "access", key_id, "--address", "10.0.0.1/8", fails=True)
    run(tollhouse, "key", "access", key_id, "--any-address")
    assert not resolved(tollhouse, secret).addresses
    contradiction = run(tollhouse, "key", "access", key_id, "--model", "x", "--any-model", fails=True)
    assert "contradict" in contradiction
