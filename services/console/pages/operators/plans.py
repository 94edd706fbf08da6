"""Plans: limits under a name."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.rendering import redirect
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2

_PATH = "/operator/plans"


async def show(request: Request) -> Response:
    """Every plan; `plan` in the address fills the form with one."""
    return await _page(request)


async def put(request: Request) -> Response:
    """Adds a plan, or replaces its limits."""
    form = await Form.read(request, "plan", "limits")
    plan = auth_pb2.Plan(name=form["plan"].strip())
    try:
        plan.limits.extend(fields.limits(form["limits"]))
    except ValueError as error:
        return await _page(request, form.wrong("limits", str(error)))
    try:
        change = partial(console_of(request).clients.auth.PutPlan, auth_pb2.PutPlanRequest(plan=plan))
        await deeds.done(request, "put_plan", plan.name, change, limits=form["limits"])
    except Refusal as refusal:
        return await _page(request, deeds.beside(form, refusal, plan="plan", limits="limit"))
    return redirect(request, _PATH, "saved")


async def delete(request: Request) -> Response:
    """Deletes a plan that nobody has."""
    name = request.path_params["plan"]
    try:
        change = partial(console_of(request).clients.auth.DeletePlan, auth_pb2.DeletePlanRequest(name=name))
        await deeds.done(request, "delete_plan", name, change)
    except Refusal as refusal:
        return await _page(request, deeds.beside(Form(), refusal))
    return redirect(request, _PATH, "deleted")


async def _page(request: Request, form: Form | None = None) -> Response:
    console = console_of(request)
    plans = (await console.clients.auth.ListPlans(auth_pb2.ListPlansRequest())).plans
    chosen = next((plan for plan in plans if plan.name == request.query_params.get("plan")), None)
    if form is None and chosen is not None:
        form = Form({"plan": chosen.name, "limits": fields.limit_lines(chosen.limits)})
    return console.renderer.page(
        request,
        "operators/plans.html",
        422 if form is not None and form.errors else 200,
        plans=[(plan, fields.limits_spoken(plan.limits)) for plan in plans],
        form=form or Form(),
        metrics=fields.METRICS,
    )


routes = [
    operator(_PATH, show),
    operator(_PATH, put, ["POST"]),
    operator(f"{_PATH}/{{plan}}/delete", delete, ["POST"]),
]
