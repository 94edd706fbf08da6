"""Wires the simulator up."""

import asyncio

from services.shared import lifecycle
from services.simulator.connection import Connection
from services.simulator.provider import Provider
from services.simulator.settings import SimulatorSettings


async def serve(settings: SimulatorSettings) -> None:
    """Runs the simulator until SIGTERM."""
    server = await listen(settings)
    await lifecycle.stopped()
    server.close()


async def listen(settings: SimulatorSettings) -> asyncio.Server:
    """Listens; port 0 means any that is free."""
    provider = Provider(settings)
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(provider.handle, settings.body_max_bytes), settings.host, settings.port, backlog=4096
    )
