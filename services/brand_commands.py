"""Operator commands about brands: `tollhouse brand`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from services import brand_file
from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, table
from tollhouse.v1 import auth_pb2


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""
    brand = sub.add_parser("brand", help="apply, list, show and delete brands").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = add_action(brand, "apply", "store the brand that a file says", _brand_apply, state_dir)
    command.add_argument("-f", "--file", type=Path, required=True, help="TOML, as in examples/brands")
    add_action(brand, "list", "list brands", _brand_list, state_dir)
    command = add_action(brand, "show", "print a brand as the file that would store it", _brand_show, state_dir)
    command.add_argument("brand")
    command = add_action(brand, "delete", "delete a brand that no key has", _brand_delete, state_dir)
    command.add_argument("brand")


def _brands(services: Services) -> list[auth_pb2.Brand]:
    return list(services.auth.ListBrands(auth_pb2.ListBrandsRequest(), timeout=TIMEOUT_S).brands)


def _brand_apply(services: Services, arguments: argparse.Namespace) -> None:
    try:
        brand = brand_file.parse(arguments.file.read_text(encoding="utf-8"))
    except brand_file.Faults as faults:
        raise CommandFailed(f"{arguments.file}:\n{faults}") from None
    stored = services.auth.PutBrand(auth_pb2.PutBrandRequest(brand=brand), timeout=TIMEOUT_S).brand
    default = ", the default brand" if stored.is_default else ""
    print(f"{stored.name}: hosts {', '.join(stored.hosts) or '-'}, keys {stored.key_prefix}...{default}")


def _brand_list(services: Services, arguments: argparse.Namespace) -> None:
    table(
        ("BRAND", "HOSTS", "BASE PATHS", "KEYS", "SHOWN AGAIN", "DEFAULT"),
        [
            (
                brand.name,
                ", ".join(brand.hosts) or "-",
                ", ".join(brand.base_paths),
                f"{brand.key_prefix}...",
                "yes" if brand.reveal else "no",
                "yes" if brand.is_default else "no",
            )
            for brand in _brands(services)
        ],
    )


def _brand_show(services: Services, arguments: argparse.Namespace) -> None:
    for brand in _brands(services):
        if brand.name == arguments.brand:
            print(brand_file.render(brand), end="")
            return
    raise CommandFailed(f"there is no brand {arguments.brand!r}")


def _brand_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=arguments.brand), timeout=TIMEOUT_S)
    print(f"{arguments.brand} is deleted")
