"""Operator commands that say where requests go: `tollhouse account|pool|group|model|route`."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, Final

from services import account_options
from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, state, table, when
from services.shared import clock
from tollhouse.v1 import billing_pb2, router_pb2

_KIND_NAMES: Final = {number: name for name, number in account_options.KINDS.items()}
_TIMES: Final = ("attempts_budget", "first_byte", "idle", "total")


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""

    def group(name: str, text: str) -> Any:
        return sub.add_parser(name, help=text).add_subparsers(required=True, metavar="ACTION")

    def action(
        parent: Any, name: str, text: str, run: Callable[[Services, argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        return add_action(parent, name, text, run, state_dir)

    _add_account(group("account", "add, change, list, clear, enable, disable and delete upstream accounts"), action)

    pool = group("pool", "add, list and delete pools of upstream accounts")
    action(pool, "add", "add a pool", _pool_add).add_argument("pool")
    action(pool, "list", "list pools", _pool_list)
    action(pool, "delete", "delete a pool that holds nothing and stands in no group", _pool_delete).add_argument("pool")

    groups = group("group", "set, list and delete groups: which pools a key may use")
    command = action(groups, "set", "make a group, or give it other pools", _group_set)
    command.add_argument("group")
    command.add_argument("pools", nargs="+", metavar="POOL", help="the first is asked first")
    action(groups, "list", "list groups", _group_list)
    action(groups, "delete", "delete a group; its keys can call nothing then", _group_delete).add_argument("group")

    model = group("model", "say how models are shown, grouped and timed")
    command = action(model, "set", "say something of a model; what is not said stays", _model_set)
    command.add_argument("model", help="the public id")
    command.add_argument("--display-name", help="for people; '' for the id")
    command.add_argument("--family", help="models whose health is kept together; '' makes it from the id")
    command.add_argument(
        "--attempts-budget", metavar="SECONDS", help="no further attempt after this; 0: as the edge is set"
    )
    command.add_argument("--first-byte", metavar="SECONDS", help="until a stream's first byte; 0: as the edge is set")
    command.add_argument("--idle", metavar="SECONDS", help="between two bytes of a stream; 0: as the edge is set")
    command.add_argument("--total", metavar="SECONDS", help="altogether; 0: as the edge is set")
    action(model, "list", "list the models that can be called", _model_list)

    route = group("route", "look at how requests were routed")
    command = action(route, "explain", "why a request went to its upstream accounts", _route_explain)
    command.add_argument("request_id")


def _add_account(account: Any, action: Callable[..., argparse.ArgumentParser]) -> None:
    command = action(account, "add", "add an upstream account, or replace the one of that name", _account_add)
    command.add_argument("--kind", choices=list(account_options.KINDS), required=True)
    command.add_argument("--name", help="for operators (default: the kind)")
    account_options.add_credential(command)
    account_options.add(command)
    command = action(account, "set", "change what is said of an upstream account, and nothing else", _account_set)
    command.add_argument("name")
    account_options.add(command)
    command = action(account, "credential", "replace an upstream account's credential", _account_credential)
    command.add_argument("name")
    account_options.add_credential(command)
    action(account, "list", "list upstream accounts and how they are", _account_list)
    action(account, "reseal", "seal every credential under the newest master key", _account_reseal)
    action(account, "show", "all that is known of an upstream account", _account_show).add_argument("name")
    command = action(account, "clear", "end an upstream account's cooldowns", _account_clear)
    command.add_argument("name")
    command.add_argument("--family", default="", help="of this family of models only")
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(account, name, f"{name} an upstream account", _account_enabled)
        command.add_argument("name")
        command.set_defaults(enabled=enabled)
    action(account, "delete", "delete an upstream account and its credential", _account_delete).add_argument("name")


# ---- upstream accounts ----


def _account_add(services: Services, arguments: argparse.Namespace) -> None:
    account = account_options.new_account(arguments)
    _put(services, account, account_options.credential(arguments))


def _account_set(services: Services, arguments: argparse.Namespace) -> None:
    account = _find(services, arguments.name)
    account_options.change(account, arguments)
    _put(services, account, "")


def _put(services: Services, account: router_pb2.UpstreamAccount, credential: str) -> None:
    request = router_pb2.PutUpstreamAccountRequest(account=account, credential=credential)
    stored = services.router.PutUpstreamAccount(request, timeout=TIMEOUT_S).account
    print(f"{stored.name} ({stored.upstream_account_id}) serves {', '.join(sorted(stored.models))}")
    priced = {
        price.model for price in services.billing.ListPrices(billing_pb2.ListPricesRequest(), timeout=TIMEOUT_S).prices
    }
    for model in sorted(stored.models.keys() - priced):
        print(
            f"{model} has no price and cannot be called before: tollhouse price set {model} --input ... --output ...",
            file=sys.stderr,
        )


def _account_credential(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.SetUpstreamCredentialRequest(
        name=arguments.name, credential=account_options.credential(arguments)
    )
    account = services.router.SetUpstreamCredential(request, timeout=TIMEOUT_S).account
    print(f"{account.name} has another credential")


def _account_reseal(services: Services, arguments: argparse.Namespace) -> None:
    done = services.router.ResealCredentials(router_pb2.ResealCredentialsRequest(), timeout=TIMEOUT_S)
    print(f"{done.resealed} sealed anew")
    if done.unsealable:
        raise CommandFailed(f"no known master key opens the credentials of {', '.join(done.unsealable)}: set them anew")


def _accounts(services: Services) -> list[router_pb2.UpstreamAccount]:
    request = router_pb2.ListUpstreamAccountsRequest()
    return list(services.router.ListUpstreamAccounts(request, timeout=TIMEOUT_S).accounts)


def _find(services: Services, name: str) -> router_pb2.UpstreamAccount:
    for account in _accounts(services):
        if account.name == name:
            return account
    raise CommandFailed(f"there is no upstream account {name!r}")


def _account_list(services: Services, arguments: argparse.Namespace) -> None:
    now_ms = clock.now_ms()
    rows: list[tuple[object, ...]] = []
    for a in _accounts(services):
        health = [f"{h.family}: {_health(h, now_ms)}" for h in a.health] or ["-"]
        said = (a.name, a.upstream_account_id, _KIND_NAMES[a.kind], a.base_url, a.pool, a.priority, a.weight)
        rows.append((*said, state(a.enabled), a.in_flight, health[0], ",".join(sorted(a.models))))
        rows += [("",) * (len(said) + 2) + (more, "") for more in health[1:]]  # a line for each further family
    heads = ("NAME", "ID", "KIND", "BASE URL", "POOL", "PRIORITY", "WEIGHT", "STATE", "IN FLIGHT", "HEALTH", "MODELS")
    table(heads, rows)


def _account_show(services: Services, arguments: argparse.Namespace) -> None:
    a = _find(services, arguments.name)
    limits = (
        (a.limits.concurrent, "at a time"),
        (a.limits.requests_per_minute, "requests a minute"),
        (a.limits.input_tokens_per_minute, "input tokens a minute"),
        (a.limits.output_tokens_per_minute, "output tokens a minute"),
    )
    lines: list[tuple[str, object]] = [
        ("name", a.name),
        ("id", a.upstream_account_id),
        ("kind", _KIND_NAMES[a.kind]),
        ("base url", a.base_url),
        ("pool", a.pool),
        ("priority", a.priority),
        ("weight", a.weight),
        ("state", state(a.enabled)),
        ("in flight", a.in_flight),
        ("limits", ", ".join(f"{amount} {what}" for amount, what in limits if amount) or "-"),
        ("proxy", a.proxy or "-"),
        ("resale", "allowed" if a.resale_allowed else "not noted as allowed"),
        ("since", when(a.created_ms)),
        ("note", a.note or "-"),
    ]
    lines += [("header", f"{name}: {value}") for name, value in sorted(a.headers.items())]
    models = sorted(a.models.items())
    lines += [("model", public if public == there else f"{public} = {there}") for public, there in models]
    now_ms = clock.now_ms()
    for h in a.health:
        lines.append(("health", f"{h.family}: {_health(h, now_ms)}, since {when(h.since_ms)}"))
    for what, value in lines:
        print(f"{what:<10} {value}".rstrip())


def _health(health: router_pb2.AccountHealth, now_ms: int) -> str:
    """How an account is for one family, for people: "cooling: throttled, over in 12 s (10:15:30Z)"."""
    stands = router_pb2.AccountHealth.State.Name(health.state).removeprefix("STATE_").lower()
    if not health.cause or health.state == router_pb2.AccountHealth.STATE_READY:
        return stands
    cause = router_pb2.Cause.Name(health.cause).removeprefix("CAUSE_").lower().replace("_", " ")
    if health.state != router_pb2.AccountHealth.STATE_COOLING:
        return f"{stands} after {cause}"
    if not health.until_ms:
        return f"cooling: {cause}, until it is cleared or has another credential"
    left_s = max(0, -((now_ms - health.until_ms) // clock.MS_PER_S))
    moment = when(health.until_ms).partition("T")[2].removesuffix("+00:00")
    return f"cooling: {cause}, over in {left_s} s ({moment}Z)"


def _account_clear(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.ClearUpstreamAccountRequest(name=arguments.name, family=arguments.family)
    services.router.ClearUpstreamAccount(request, timeout=TIMEOUT_S)
    print(f"{arguments.name} is cleared")


def _account_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.SetUpstreamAccountEnabledRequest(name=arguments.name, enabled=arguments.enabled)
    account = services.router.SetUpstreamAccountEnabled(request, timeout=TIMEOUT_S).account
    print(f"{account.name} is {state(account.enabled)}")


def _account_delete(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.DeleteUpstreamAccountRequest(name=arguments.name)
    services.router.DeleteUpstreamAccount(request, timeout=TIMEOUT_S)
    print(f"{arguments.name} is deleted")


# ---- pools, groups, models ----


def _pool_add(services: Services, arguments: argparse.Namespace) -> None:
    pool = services.router.PutPool(router_pb2.PutPoolRequest(name=arguments.pool), timeout=TIMEOUT_S).pool
    print(f"{pool.name} holds {pool.accounts} upstream accounts")


def _pool_list(services: Services, arguments: argparse.Namespace) -> None:
    pools = services.router.ListPools(router_pb2.ListPoolsRequest(), timeout=TIMEOUT_S).pools
    table(("POOL", "ACCOUNTS", "MODELS"), [(p.name, p.accounts, ",".join(p.models)) for p in pools])


def _pool_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.router.DeletePool(router_pb2.DeletePoolRequest(name=arguments.pool), timeout=TIMEOUT_S)
    print(f"{arguments.pool} is deleted")


def _group_set(services: Services, arguments: argparse.Namespace) -> None:
    asked = router_pb2.Group(name=arguments.group, pools=arguments.pools)
    group = services.router.PutGroup(router_pb2.PutGroupRequest(group=asked), timeout=TIMEOUT_S).group
    print(f"{group.name} asks {', then '.join(group.pools)}")


def _group_list(services: Services, arguments: argparse.Namespace) -> None:
    groups = services.router.ListGroups(router_pb2.ListGroupsRequest(), timeout=TIMEOUT_S).groups
    table(("GROUP", "POOLS"), [(g.name, ", ".join(g.pools)) for g in groups])


def _group_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.router.DeleteGroup(router_pb2.DeleteGroupRequest(name=arguments.group), timeout=TIMEOUT_S)
    print(f"{arguments.group} is deleted")


def _models(services: Services) -> list[router_pb2.Model]:
    return list(services.router.ListModels(router_pb2.ListModelsRequest(), timeout=TIMEOUT_S).models)


def _model_set(services: Services, arguments: argparse.Namespace) -> None:
    model = next((m for m in _models(services) if m.model == arguments.model), router_pb2.Model(model=arguments.model))
    for field in ("display_name", "family"):
        if getattr(arguments, field) is not None:
            setattr(model, field, getattr(arguments, field))
    for time in _TIMES:
        text = getattr(arguments, time)
        if text is not None:
            setattr(model.times, f"{time}_ms", round(float(text) * clock.MS_PER_S))
    stored = services.router.PutModel(router_pb2.PutModelRequest(model=model), timeout=TIMEOUT_S).model
    print(f"{stored.model} is of the family {stored.family}")


def _model_list(services: Services, arguments: argparse.Namespace) -> None:
    table(
        ("MODEL", "NAME", "FAMILY", "ATTEMPTS WITHIN", "FIRST BYTE", "IDLE", "TOTAL", "SINCE"),
        [
            (
                m.model,
                m.display_name,
                m.family,
                *(_seconds(getattr(m.times, f"{t}_ms")) for t in _TIMES),
                when(m.created_ms),
            )
            for m in _models(services)
        ],
    )


def _seconds(time_ms: int) -> str:
    return f"{time_ms / clock.MS_PER_S:g} s" if time_ms else "-"


# ---- routes ----


def _route_explain(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.ExplainRouteRequest(request_id=arguments.request_id)
    decisions = services.router.ExplainRoute(request, timeout=TIMEOUT_S).decisions
    table(
        ("ATTEMPT", "AT", "POOL", "MODEL", "FAMILY", "ACCOUNT", "REASON", "WAITED", "OUTCOME", "SERVING", "ROUTER"),
        [
            (
                d.lease_id.rpartition(":")[2],
                when(d.at_ms),
                d.pool,
                d.model,
                d.family,
                next((c.name for c in d.candidates if c.upstream_account_id == d.upstream_account_id), "-"),
                d.reason,
                f"{d.waited_ms} ms",
                _outcome(d),
                d.serving,
                d.replica,
            )
            for d in decisions
        ],
    )
    print()
    table(
        ("ATTEMPT", "CANDIDATE", "PRIORITY", "FOUND", "LOAD"),
        [
            (d.lease_id.rpartition(":")[2], c.name, c.priority, c.verdict, f"{c.load:.3g}")
            for d in decisions
            for c in d.candidates
        ],
    )


def _outcome(decision: router_pb2.Decision) -> str:
    if not decision.upstream_account_id:
        return "-"
    if not decision.outcome:
        return "under way"
    return router_pb2.Outcome.Name(decision.outcome).removeprefix("OUTCOME_").lower().replace("_", " ")
