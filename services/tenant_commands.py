"""Operator commands about tenants and their keys: `tollhouse tenant|key`."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, state, table, when
from services.limit_options import add_limit_options, changed, shown
from services.shared import clock
from services.shared.money import dollars, nano_from_dollars
from tollhouse.v1 import auth_pb2


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""

    def group(name: str, text: str) -> Any:
        return sub.add_parser(name, help=text).add_subparsers(required=True, metavar="ACTION")

    def action(
        parent: Any, name: str, text: str, run: Callable[[Services, argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        return add_action(parent, name, text, run, state_dir)

    tenant = group("tenant", "make, set, list, enable and disable tenants")
    command = action(tenant, "add", "make a tenant", _tenant_add)
    command.add_argument("tenant", help="lower-case letters, digits and hyphens")
    command.add_argument("--name", default="", help="for people")
    command.add_argument("--plan", default="", help="its plan (default: none)")
    command = action(tenant, "set", "give a tenant another plan, or change its own limits", _tenant_set)
    command.add_argument("tenant")
    _plan_options(command)
    add_limit_options(command)
    action(tenant, "list", "list tenants", _tenant_list)
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(tenant, name, f"{name} a tenant", _tenant_enabled)
        command.add_argument("tenant")
        command.set_defaults(enabled=enabled)

    key = group("key", "make, set, list, show, restrict, enable, disable and delete client keys")
    command = action(key, "add", "make a key and print its secret", _key_add)
    command.add_argument("tenant")
    command.add_argument("--name", required=True, help="for people, at most 50 characters")
    command.add_argument("--days", type=int, default=0, help="how long it lives (default: for ever)")
    command.add_argument("--spend-cap", metavar="DOLLARS", help="what it may spend over its life (default: no cap)")
    command.add_argument("--group", default="", help="the group of pools that it may use (default: default)")
    command.add_argument("--plan", default="", help="its plan (default: none)")
    command.add_argument("--brand", default="", help="the brand it is for (default: the default brand)")
    _access_options(command)
    command = action(key, "set", "give a key another group or plan, or change its own limits", _key_set)
    command.add_argument("key_id")
    command.add_argument("--group", help="the group of pools that it may use")
    _plan_options(command)
    add_limit_options(command)
    command = action(key, "list", "list keys", _key_list)
    command.add_argument("tenant", nargs="?", default="")
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(key, name, f"{name} a key", _key_enabled)
        command.add_argument("key_id")
        command.set_defaults(enabled=enabled)
    command = action(key, "cap", "set or lift what a key may spend over its life", _key_cap)
    command.add_argument("key_id")
    cap = command.add_mutually_exclusive_group(required=True)
    cap.add_argument("--dollars", help="the cap, such as 25 or 0.50")
    cap.add_argument("--none", action="store_true", help="no cap")
    command = action(key, "access", "set which models a key may call and from which addresses", _key_access)
    command.add_argument("key_id")
    _access_options(command)
    command.add_argument("--any-model", action="store_true", help="every model of its group")
    command.add_argument("--any-address", action="store_true", help="every address")
    command = action(key, "reveal", "print a key's secret again, where its brand shows keys again", _key_reveal)
    command.add_argument("key_id")
    command = action(key, "delete", "delete a key for good", _key_delete)
    command.add_argument("key_id")


def _access_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--model",
        action="append",
        default=[],
        help="a model that it may call, and no other; may be given several times",
    )
    command.add_argument(
        "--address",
        action="append",
        default=[],
        help="an IP address or CIDR block that it may be used from, and no other; may be given several times",
    )


def _plan_options(command: argparse.ArgumentParser) -> None:
    plan = command.add_mutually_exclusive_group()
    plan.add_argument("--plan", help="the plan")
    plan.add_argument("--no-plan", dest="plan", action="store_const", const="", help="no plan")


def _tenant_add(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.CreateTenantRequest(tenant_id=arguments.tenant, name=arguments.name, plan=arguments.plan)
    print(services.auth.CreateTenant(request, timeout=TIMEOUT_S).tenant.tenant_id)


def _tenant_set(services: Services, arguments: argparse.Namespace) -> None:
    before = next((tenant for tenant in _tenants(services) if tenant.tenant_id == arguments.tenant), None)
    if before is None:
        raise CommandFailed(f"there is no tenant {arguments.tenant!r}")
    request = auth_pb2.SetTenantPolicyRequest(
        tenant_id=before.tenant_id,
        plan=before.plan if arguments.plan is None else arguments.plan,
        limits=changed(before.limits, arguments),
    )
    tenant = services.auth.SetTenantPolicy(request, timeout=TIMEOUT_S).tenant
    print(f"{tenant.tenant_id}: plan {tenant.plan or '-'}, limits {shown(tenant.limits)}")


def _tenants(services: Services) -> list[auth_pb2.Tenant]:
    return list(services.auth.ListTenants(auth_pb2.ListTenantsRequest(), timeout=TIMEOUT_S).tenants)


def _tenant_list(services: Services, arguments: argparse.Namespace) -> None:
    table(
        ("TENANT", "NAME", "STATE", "PLAN", "SINCE", "LIMITS"),
        [
            (t.tenant_id, t.name, state(t.enabled), t.plan or "-", when(t.created_ms), shown(t.limits))
            for t in _tenants(services)
        ],
    )


def _tenant_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.SetTenantEnabledRequest(tenant_id=arguments.tenant, enabled=arguments.enabled)
    tenant = services.auth.SetTenantEnabled(request, timeout=TIMEOUT_S).tenant
    print(f"{tenant.tenant_id} is {state(tenant.enabled)}")


def _key_add(services: Services, arguments: argparse.Namespace) -> None:
    expires_ms = 0
    if arguments.days:
        expires_ms = clock.now_ms() + arguments.days * 86_400 * clock.MS_PER_S
    request = auth_pb2.CreateKeyRequest(
        tenant_id=arguments.tenant,
        name=arguments.name,
        expires_ms=expires_ms,
        spend_cap_nano=nano_from_dollars(arguments.spend_cap) if arguments.spend_cap else None,
        group=arguments.group,
        plan=arguments.plan,
        brand=arguments.brand,
        models=arguments.model,
        addresses=arguments.address,
    )
    print(services.auth.CreateKey(request, timeout=TIMEOUT_S).secret)


def _key_set(services: Services, arguments: argparse.Namespace) -> None:
    before = _key(services, arguments.key_id)
    request = auth_pb2.SetKeyPolicyRequest(
        key_id=before.key_id,
        group=before.group if arguments.group is None else arguments.group,
        plan=before.plan if arguments.plan is None else arguments.plan,
        limits=changed(before.limits, arguments),
    )
    key = services.auth.SetKeyPolicy(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id}: group {key.group}, plan {key.plan or '-'}, limits {shown(key.limits)}")


def _keys(services: Services, tenant_id: str = "") -> list[auth_pb2.Key]:
    return list(services.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=tenant_id), timeout=TIMEOUT_S).keys)


def _key(services: Services, key_id: str) -> auth_pb2.Key:
    key = next((key for key in _keys(services) if key.key_id == key_id), None)
    if key is None:
        raise CommandFailed(f"there is no key {key_id!r}")
    return key


def _key_list(services: Services, arguments: argparse.Namespace) -> None:
    table(
        (
            *("KEY", "TENANT", "NAME", "LOOKS LIKE", "STATE", "BRAND", "GROUP", "PLAN", "SPEND CAP", "SINCE", "UNTIL"),
            *("LIMITS", "MODELS", "ADDRESSES"),
        ),
        [
            (
                k.key_id,
                k.tenant_id,
                k.name,
                k.hint,
                state(k.enabled),
                k.brand or "-",
                k.group,
                k.plan or "-",
                _cap(k),
                when(k.created_ms),
                when(k.expires_ms),
                shown(k.limits),
                ", ".join(k.models) or "-",
                ", ".join(k.addresses) or "-",
            )
            for k in _keys(services, arguments.tenant)
        ],
    )


def _key_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.SetKeyEnabledRequest(key_id=arguments.key_id, enabled=arguments.enabled)
    key = services.auth.SetKeyEnabled(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id} is {state(key.enabled)}")


def _key_cap(services: Services, arguments: argparse.Namespace) -> None:
    cap_nano = None if arguments.none else nano_from_dollars(arguments.dollars)
    request = auth_pb2.SetKeySpendCapRequest(key_id=arguments.key_id, spend_cap_nano=cap_nano)
    key = services.auth.SetKeySpendCap(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id} may spend {_cap(key)}" if key.HasField("spend_cap_nano") else f"{key.key_id} has no spend cap")


def _cap(key: auth_pb2.Key) -> str:
    return dollars(key.spend_cap_nano) if key.HasField("spend_cap_nano") else "-"


def _key_access(services: Services, arguments: argparse.Namespace) -> None:
    before = _key(services, arguments.key_id)
    request = auth_pb2.SetKeyAccessRequest(
        key_id=before.key_id,
        models=_listed(arguments.model, arguments.any_model, before.models, "model"),
        addresses=_listed(arguments.address, arguments.any_address, before.addresses, "address"),
    )
    key = services.auth.SetKeyAccess(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id}: models {', '.join(key.models) or '-'}, addresses {', '.join(key.addresses) or '-'}")


def _listed(said: Sequence[str], any_: bool, before: Sequence[str], what: str) -> Sequence[str]:
    """A list as the options set it: what none of them names stays."""
    if said and any_:
        raise CommandFailed(f"--{what} and --any-{what} contradict each other")
    return said or ([] if any_ else before)


def _key_reveal(services: Services, arguments: argparse.Namespace) -> None:
    print(services.auth.RevealKey(auth_pb2.RevealKeyRequest(key_id=arguments.key_id), timeout=TIMEOUT_S).secret)


def _key_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=arguments.key_id), timeout=TIMEOUT_S)
    print(f"{arguments.key_id} is deleted")
