"""What operators say of an upstream account on the command line: the options, and what they make of an account."""

import argparse
import getpass
import sys
from pathlib import Path
from typing import Final

from services.commands import CommandFailed
from tollhouse.v1 import router_pb2

KINDS: Final = {
    "anthropic": router_pb2.UPSTREAM_KIND_ANTHROPIC,
    "openrouter": router_pb2.UPSTREAM_KIND_OPENROUTER,
    "simulator": router_pb2.UPSTREAM_KIND_SIMULATOR,
    "openai": router_pb2.UPSTREAM_KIND_OPENAI,
    "gemini-openai": router_pb2.UPSTREAM_KIND_GEMINI_OPENAI,
}
"""What an upstream account may speak."""

_DEFAULT_URLS: Final = {"anthropic": "https://api.anthropic.com", "openrouter": "https://openrouter.ai/api"}
_PRIORITY: Final = 10
_LIMITS: Final = {
    "max_concurrent": "concurrent",
    "rpm": "requests_per_minute",
    "itpm": "input_tokens_per_minute",
    "otpm": "output_tokens_per_minute",
}


def add(command: argparse.ArgumentParser) -> None:
    """Adds the options that `account add` and `account set` share; one that is not given changes nothing."""
    command.add_argument(
        "--models", nargs="+", metavar="MODEL", help="these and no others: public id, or public=upstream"
    )
    command.add_argument(
        "--model", action="append", metavar="PUBLIC[=UPSTREAM]", help="one more model, or another upstream name for it"
    )
    command.add_argument("--base-url", help="where it is, without /v1 (anthropic and openrouter know theirs)")
    command.add_argument("--pool", help="the pool it is in (default: default)")
    command.add_argument("--priority", type=int, help=f"lower is tried first (default: {_PRIORITY})")
    command.add_argument("--weight", type=int, help="its share among those of one priority, 1 to 1000 (default: 100)")
    command.add_argument(
        "--header", action="append", metavar="NAME=VALUE", help="a header to send there; NAME= sends it no more"
    )
    command.add_argument("--proxy", help="HTTP proxy to go through, such as http://proxy:3128; '' for none")
    command.add_argument("--max-concurrent", type=int, help="attempts at a time; 0 for no limit")
    command.add_argument("--rpm", type=int, help="requests a minute; 0 for no limit")
    command.add_argument("--itpm", type=int, help="input tokens a minute, without those read from a cache; 0: no limit")
    command.add_argument("--otpm", type=int, help="output tokens a minute; 0 for no limit")
    command.add_argument(
        "--resale-allowed",
        choices=("yes", "no"),
        nargs="?",
        const="yes",
        help="whether its terms let answers be resold",
    )
    command.add_argument("--note", help="for operators")


def add_credential(command: argparse.ArgumentParser) -> None:
    """Adds where the credential is read from."""
    command.add_argument(
        "--credential-file",
        "--key-file",
        type=Path,
        help="file that holds the credential (default: standard input)",
    )


def credential(arguments: argparse.Namespace) -> str:
    """The credential, read from its file or from standard input; asked for without an echo at a terminal."""
    if arguments.credential_file is not None:
        return str(arguments.credential_file.read_text(encoding="utf-8").strip())
    if sys.stdin.isatty():
        return getpass.getpass("credential: ").strip()
    return sys.stdin.read().strip()


def new_account(arguments: argparse.Namespace) -> router_pb2.UpstreamAccount:
    """The account that `account add` means. Raises CommandFailed."""
    if not arguments.models and not arguments.model:
        raise CommandFailed("an account needs --models or --model")
    if arguments.base_url is None and arguments.kind not in _DEFAULT_URLS:
        raise CommandFailed(f"an account of kind {arguments.kind} needs --base-url")
    account = router_pb2.UpstreamAccount(
        name=arguments.name or arguments.kind,
        kind=KINDS[arguments.kind],
        base_url=_DEFAULT_URLS.get(arguments.kind, ""),
        priority=_PRIORITY,
        enabled=True,
    )
    change(account, arguments)
    return account


def change(account: router_pb2.UpstreamAccount, arguments: argparse.Namespace) -> None:
    """Changes what the options say of an account, and nothing else. Raises CommandFailed."""
    for field in ("base_url", "pool", "priority", "weight", "proxy", "note"):
        value = getattr(arguments, field)
        if value is not None:
            if field == "weight" and value < 1:
                raise CommandFailed("--weight is from 1 to 1000")
            setattr(account, field, value)
    for option, limit in _LIMITS.items():
        value = getattr(arguments, option)
        if value is not None:
            setattr(account.limits, limit, value)
    if arguments.resale_allowed is not None:
        account.resale_allowed = arguments.resale_allowed == "yes"
    if arguments.models:
        account.models.clear()
        account.models.update(_alias(text) for text in ",".join(arguments.models).split(",") if text.strip())
    account.models.update(map(_alias, arguments.model or ()))
    for text in arguments.header or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise CommandFailed(f"--header {name}: NAME=VALUE")
        account.headers.pop(name.lower(), None)
        if value:
            account.headers[name.lower()] = value


def _alias(text: str) -> tuple[str, str]:
    public, _, upstream = text.strip().partition("=")
    return public, upstream or public
