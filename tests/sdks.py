"""The official SDKs, as they come, for tests that speak plain HTTP with a deployment on this machine."""

from typing import Any

import anthropic
import openai

from tests.deployment import NO_AUTHORITIES


def anthropic_sdk(base_url: str, key: str, **options: Any) -> anthropic.Anthropic:
    """A client of Anthropic's, its newer generation, that repeats nothing."""
    http = anthropic.DefaultHttpxClient(verify=NO_AUTHORITIES)
    return anthropic.Anthropic(api_key=key, base_url=base_url, max_retries=0, http_client=http, **options)


def openai_sdk(base_url: str, key: str, **options: Any) -> openai.OpenAI:
    """A client of OpenAI's that repeats nothing."""
    http = openai.DefaultHttpxClient(verify=NO_AUTHORITIES)
    return openai.OpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http, **options)
