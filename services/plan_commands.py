"""Operator commands about plans: `tollhouse plan`."""

import argparse
from collections.abc import Callable
from typing import Any

from services.commands import TIMEOUT_S, Services, add_action, table
from services.limit_options import add_limit_options, changed, shown
from tollhouse.v1 import auth_pb2


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""
    plan = sub.add_parser("plan", help="make, change, list and delete plans").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = add_action(plan, "set", "make a plan, or change limits of one", _plan_set, state_dir)
    command.add_argument("plan", help="lower-case letters, digits, hyphens, dots and underscores")
    add_limit_options(command)
    add_action(plan, "list", "list plans", _plan_list, state_dir)
    command = add_action(plan, "delete", "delete a plan that nobody has", _plan_delete, state_dir)
    command.add_argument("plan")


def _plans(services: Services) -> list[auth_pb2.Plan]:
    return list(services.auth.ListPlans(auth_pb2.ListPlansRequest(), timeout=TIMEOUT_S).plans)


def _plan_set(services: Services, arguments: argparse.Namespace) -> None:
    before = next((plan.limits for plan in _plans(services) if plan.name == arguments.plan), ())
    plan = auth_pb2.Plan(name=arguments.plan, limits=changed(before, arguments))
    stored = services.auth.PutPlan(auth_pb2.PutPlanRequest(plan=plan), timeout=TIMEOUT_S).plan
    print(f"{stored.name}: {shown(stored.limits)}")


def _plan_list(services: Services, arguments: argparse.Namespace) -> None:
    table(("PLAN", "LIMITS"), [(plan.name, shown(plan.limits)) for plan in _plans(services)])


def _plan_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.auth.DeletePlan(auth_pb2.DeletePlanRequest(name=arguments.plan), timeout=TIMEOUT_S)
    print(f"{arguments.plan} is deleted")
