"""Unit tests of services.router.reach."""

from dataclasses import replace

import pytest

from services.router import forms
from services.router.reach import Reach
from services.shared.errors import Refusal
from tollhouse.v1 import router_pb2

PUBLIC = forms.account(
    router_pb2.UpstreamAccount(
        name="one",
        kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
        base_url="https://8.8.8.8",
        models={"a-model": "a-model"},
    )
)
PRIVATE = (
    *("http://127.0.0.1:9000", "http://localhost:9000", "http://[::1]:9000", "http://169.254.169.254/latest/meta-data"),
    *("http://10.0.0.1", "https://192.168.0.1", "http://[::ffff:127.0.0.1]", "http://0.0.0.0:8080"),
    *("http://2130706433", "http://0x7f.1", "http://017700000001"),  # ways to write 127.0.0.1
)


@pytest.mark.parametrize("url", PRIVATE)
async def test_no_upstream_account_or_proxy_may_lead_into_a_private_network(url: str) -> None:
    with pytest.raises(Refusal, match="base_url leads"):
        await Reach(private=False).check(replace(PUBLIC, base_url=url))
    with pytest.raises(Refusal, match="proxy leads"):
        await Reach(private=False).check(replace(PUBLIC, proxy=url))
    await Reach(private=True).check(replace(PUBLIC, base_url=url, proxy=url))


async def test_the_open_internet_and_names_that_are_not_known_here_are_let_through() -> None:
    await Reach(private=False).check(PUBLIC)
    await Reach(private=False).check(replace(PUBLIC, base_url="https://no-such-host.invalid"))
