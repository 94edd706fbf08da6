"""Unit tests of services.router.families."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.families import family_of


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("claude-sonnet-4-5-20250929", "claude-sonnet"),
        ("claude-sonnet-4-6", "claude-sonnet"),
        ("claude-3-5-sonnet-latest", "claude-sonnet"),
        ("anthropic/claude-opus-4.1", "claude-opus"),
        ("claude-opus-4@20250514", "claude-opus"),
        ("Claude-Haiku-4-5", "claude-haiku"),
        ("gpt-5.1-mini-2025-11-13", "gpt-5.1-mini"),
        ("openai/gpt-5.1", "gpt-5.1"),
        ("gpt-4-0613", "gpt-4"),
        ("chatgpt-4o-latest", "chatgpt-4o"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("o3", "o3"),
        ("deepseek/deepseek-r1:free", "deepseek-r1:free"),
        ("-latest", "-latest"),
        ("anthropic/", "anthropic/"),
    ],
)
def test_a_family_is_the_id_without_maker_release_and_claude_version(model: str, family: str) -> None:
    assert family_of(model) == family


@given(st.from_regex(r"[a-zA-Z0-9./@:-]{1,40}", fullmatch=True))
def test_every_model_has_a_family(model: str) -> None:
    assert family_of(model)


@given(st.sampled_from(["claude-opus", "gpt-5", "gemini-2.5-pro"]), st.dates())
def test_releases_of_a_model_are_of_one_family(model: str, day: object) -> None:
    assert family_of(f"{model}-{day}") == family_of(f"x/{model}-{str(day).replace('-', '')}") == family_of(model)
