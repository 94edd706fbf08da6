"""Headers that providers' answers carry beside their type; some are our account's business only. Pure."""

import datetime
from collections.abc import Callable
from email.utils import formatdate
from typing import Final

from services.simulator.connection import Headers
from services.simulator.script import Script

_RESET_S: Final = 60
_MINUTE_S: Final = 60
_TOKENS: Final = 4_000_000
_TOKENS_LEFT: Final = 3_999_000

Tell = Callable[[str, Script, int], Headers]
"""Headers for an answer's request id and script, at a moment in Unix seconds."""


def anthropic(request_id: str, script: Script, now_s: int) -> Headers:
    """https://docs.anthropic.com/en/api/rate-limits#response-headers"""
    headers = [
        ("request-id", request_id),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
    ]
    if script.rl_limit:
        headers += _anthropic_limits(script, now_s)
    return headers + _retry(script, now_s)


def openai(request_id: str, script: Script, now_s: int) -> Headers:
    """https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers"""
    headers = [
        ("x-request-id", request_id),
        ("openai-organization", "simulator"),
        ("openai-processing-ms", "25"),
        ("openai-version", "2020-10-01"),
    ]
    if script.rl_limit:
        others_s, requests_s = _resets(script)
        headers += [
            ("x-ratelimit-limit-requests", str(script.rl_limit)),
            ("x-ratelimit-remaining-requests", str(_remaining(script))),
            ("x-ratelimit-reset-requests", _duration(requests_s)),
            ("x-ratelimit-limit-tokens", str(_TOKENS)),
            ("x-ratelimit-remaining-tokens", str(_TOKENS_LEFT)),
            ("x-ratelimit-reset-tokens", _duration(others_s)),
        ]
    return headers + _retry(script, now_s)


def _retry(script: Script, now_s: int) -> Headers:
    if script.retry_after is None:
        return []
    date = formatdate(now_s + 1 + script.retry_after, usegmt=True)  # whole seconds: never too early
    return [("retry-after", date if script.retry_after_date else str(script.retry_after))]


def _remaining(script: Script) -> int:
    return script.rl_limit - 1 if script.rl_remaining is None else script.rl_remaining


def _resets(script: Script) -> tuple[int, int]:
    """Seconds until limits are full again, and until the limit of requests is."""
    others_s = _RESET_S if script.reset_s is None else script.reset_s
    return others_s, others_s if script.rl_reset_s is None else script.rl_reset_s


def _anthropic_limits(script: Script, now_s: int) -> Headers:
    others_s, requests_s = _resets(script)
    unified_s = others_s if script.unified_reset_s is None else script.unified_reset_s
    return [
        ("anthropic-ratelimit-requests-limit", str(script.rl_limit)),
        ("anthropic-ratelimit-requests-remaining", str(_remaining(script))),
        ("anthropic-ratelimit-requests-reset", _rfc3339(now_s + requests_s)),
        ("anthropic-ratelimit-tokens-limit", str(_TOKENS)),
        ("anthropic-ratelimit-tokens-remaining", str(_TOKENS_LEFT)),
        ("anthropic-ratelimit-tokens-reset", _rfc3339(now_s + others_s)),
        ("anthropic-ratelimit-unified-reset", str(now_s + unified_s)),
    ]


def _rfc3339(unix_s: int) -> str:
    return datetime.datetime.fromtimestamp(unix_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: int) -> str:
    """As OpenAI writes one: 59s, 6m0s."""
    minutes, rest = divmod(seconds, _MINUTE_S)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
