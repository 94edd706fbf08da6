"""Replicas of the router that tell over a real NATS how a request was routed."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.embedded import nats as embedded_nats
from services.embedded import ports
from services.embedded.process import Child
from services.embedded.state import StateFolder
from services.router.cooldowns import Cooldowns
from services.router.decide import Decider
from services.router.explanations import Explanations
from services.router.leases import Leases
from services.router.settings import RouterSettings
from services.shared import bus, clock
from services.shared.settings import Secret
from tests.unit.router.upstreams import MODEL, Catalogue, five
from tollhouse.v1 import router_pb2

PASSWORD = "not-a-guess"
SETTINGS = RouterSettings(database_url=Secret(""), nats_url=Secret(""), master_key=Secret(""))


@pytest.fixture
async def nc(tmp_path: Path) -> AsyncIterator[Client]:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    port = ports.free(1)[0]
    child = Child(embedded_nats.program(folder, port, PASSWORD), folder.log, lambda: None)
    child.start()
    await child.ready(clock.monotonic_s() + 30)
    nc = await bus.connect(Secret(embedded_nats.client_url(port, PASSWORD)), name="test", wait_s=10)
    yield nc
    await nc.close()
    await child.stop()


def decider(nc: Client, replica: str) -> Decider:
    return Decider(Catalogue(five()), Leases(60), Cooldowns(nc, lambda: 0.5), SETTINGS, replica=replica)


def pick(decider: Decider, lease_id: str) -> str:
    item = router_pb2.PickItem(id=1, lease_id=lease_id, pool="default", model=MODEL)
    response, _ = decider.decide(router_pb2.RouterDecideRequest(pick=[item]))
    return response.pick[0].upstream_account_id


async def test_whichever_replica_is_asked_tells_what_all_of_them_decided(nc: Client) -> None:
    first, second, third = (decider(nc, f"router-{number}") for number in (1, 2, 3))
    asked = [Explanations(nc, one) for one in (first, second, third)]
    for one in asked:
        await one.start()
    tried = pick(first, "req_1:1")
    report = router_pb2.ReportItem(lease_id="req_1:1", outcome=router_pb2.OUTCOME_CUT)
    first.decide(router_pb2.RouterDecideRequest(report=[report]))
    taken = pick(second, "req_1:2")
    pick(second, "req_2:1")
    for one in asked:
        decisions = await one.of("req_1")
        assert [(told.lease_id, told.replica, told.upstream_account_id) for told in decisions] == [
            ("req_1:1", "router-1", tried),
            ("req_1:2", "router-2", taken),
        ]
        assert decisions[0].outcome == router_pb2.OUTCOME_CUT
    assert await asked[2].of("req_3") == []


async def test_while_nats_is_away_a_replica_tells_what_it_remembers_itself(nc: Client) -> None:
    alone = decider(nc, "router-1")
    account_id = pick(alone, "req_1:1")
    await nc.close()
    decisions = await Explanations(nc, alone).of("req_1")
    assert [told.upstream_account_id for told in decisions] == [account_id]
