"""Plans and brands: what tenants and keys are given by name."""

from typing import Any

from services.console.api.admin.resources import changing, listing, reading, the
from services.console.api.operation import Call
from services.console.api.pages import page_of
from tollhouse.v1 import auth_pb2


async def _plans(call: Call) -> list[auth_pb2.Plan]:
    return list((await call.console.clients.auth.ListPlans(auth_pb2.ListPlansRequest())).plans)


async def list_plans(call: Call) -> Any:
    """A page of plans, by name."""
    return page_of(await _plans(call), lambda plan: (0, plan.name), call.query)


async def get_plan(call: Call) -> auth_pb2.Plan:
    """One plan."""
    return the(await _plans(call), lambda plan: plan.name == call.path("name"), "plan")


async def put_plan(call: Call) -> auth_pb2.Plan:
    """Adds a plan, or replaces its limits."""
    plan = auth_pb2.Plan(name=call.path("name"), limits=call.body.limits)
    return (await call.console.clients.auth.PutPlan(auth_pb2.PutPlanRequest(plan=plan))).plan


async def delete_plan(call: Call) -> None:
    """Deletes a plan that nobody has."""
    await call.console.clients.auth.DeletePlan(auth_pb2.DeletePlanRequest(name=call.path("name")))


async def _brands(call: Call) -> list[auth_pb2.Brand]:
    return list((await call.console.clients.auth.ListBrands(auth_pb2.ListBrandsRequest())).brands)


async def list_brands(call: Call) -> Any:
    """A page of brands, by name."""
    return page_of(await _brands(call), lambda brand: (0, brand.name), call.query)


async def get_brand(call: Call) -> auth_pb2.Brand:
    """One brand."""
    return the(await _brands(call), lambda brand: brand.name == call.path("name"), "brand")


async def put_brand(call: Call) -> auth_pb2.Brand:
    """Adds a brand, or replaces it whole."""
    brand: auth_pb2.Brand = call.body
    brand.name = call.path("name")
    return (await call.console.clients.auth.PutBrand(auth_pb2.PutBrandRequest(brand=brand))).brand


async def delete_brand(call: Call) -> None:
    """Deletes a brand that no key has."""
    await call.console.clients.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=call.path("name")))


operations = (
    listing("/plans", "listPlans", "Plans, by name", list_plans, auth_pb2.Plan),
    reading("/plans/{name}", "getPlan", "One plan", get_plan, auth_pb2.Plan),
    changing(
        "PUT",
        "/plans/{name}",
        "putPlan",
        "Adds a plan, or replaces its limits",
        put_plan,
        auth_pb2.Plan,
        body=auth_pb2.Plan,
        current=get_plan,
    ),
    changing("DELETE", "/plans/{name}", "deletePlan", "Deletes a plan that nobody has", delete_plan, current=get_plan),
    listing("/brands", "listBrands", "Brands, by name", list_brands, auth_pb2.Brand),
    reading("/brands/{name}", "getBrand", "One brand", get_brand, auth_pb2.Brand),
    changing(
        "PUT",
        "/brands/{name}",
        "putBrand",
        "Adds a brand, or replaces it whole",
        put_brand,
        auth_pb2.Brand,
        body=auth_pb2.Brand,
        current=get_brand,
    ),
    changing(
        "DELETE", "/brands/{name}", "deleteBrand", "Deletes a brand that no key has", delete_brand, current=get_brand
    ),
)
