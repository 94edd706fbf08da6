"""Models: how they are shown, grouped and timed."""

import asyncio
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.pages.operators.prices import in_force
from services.console.rendering import redirect
from services.shared import clock
from services.shared.errors import Refusal
from tollhouse.v1 import billing_pb2, router_pb2

_PATH = "/operator/models"
_TIMES = ("attempts_budget_ms", "first_byte_ms", "idle_ms", "total_ms")
_LONGEST_MS = 24 * 3600 * clock.MS_PER_S


async def show(request: Request) -> Response:
    """Every model that some enabled upstream account serves, and which pools serve it."""
    clients = console_of(request).clients
    routes_, book = await asyncio.gather(
        clients.router.GetRoutes(router_pb2.GetRoutesRequest()),
        clients.billing.ListPrices(billing_pb2.ListPricesRequest()),
    )
    pools: dict[str, list[str]] = {}
    for pool in routes_.pools:
        for model in pool.models:
            pools.setdefault(model, []).append(pool.name)
    return console_of(request).renderer.page(
        request,
        "operators/models.html",
        models=routes_.models,
        pools=pools,
        prices=in_force(book.prices, clock.now_ms()),
    )


async def one(request: Request) -> Response:
    """The form of a model."""
    model = await _model(request)
    values = {name: str(getattr(model.times, name) or "") for name in _TIMES}
    form = Form({"display_name": model.display_name, "family": model.family, **values})
    return _page(request, model.model, form)


async def change(request: Request) -> Response:
    """Says how a model is."""
    model = await _model(request)
    form = await Form.read(request, "display_name", "family", *_TIMES)
    times = {}
    for name in _TIMES:
        try:
            times[name] = fields.whole(form[name], most=_LONGEST_MS)
        except ValueError as error:
            form.wrong(name, str(error))
    if form.errors:
        return _page(request, model.model, form, 422)
    said = router_pb2.Model(
        model=model.model,
        display_name=form["display_name"].strip(),
        family=form["family"].strip(),
        times=router_pb2.ModelTimes(**times),
    )
    try:
        change = partial(console_of(request).clients.router.PutModel, router_pb2.PutModelRequest(model=said))
        await deeds.done(request, "put_model", model.model, change, **form.values)
    except Refusal as refusal:
        deeds.beside(form, refusal, display_name="display_name", family="family")
        return _page(request, model.model, form, 422)
    return redirect(request, _PATH, "saved")


async def _model(request: Request) -> router_pb2.Model:
    listed = await console_of(request).clients.router.ListModels(router_pb2.ListModelsRequest())
    for model in listed.models:
        if model.model == request.path_params["model"]:
            return model
    raise HTTPException(404)


def _page(request: Request, model: str, form: Form, status: int = 200) -> Response:
    return console_of(request).renderer.page(request, "operators/model.html", status, model=model, form=form)


routes = [
    operator(_PATH, show),
    operator(f"{_PATH}/{{model:path}}", one),
    operator(f"{_PATH}/{{model:path}}", change, ["POST"]),
]
