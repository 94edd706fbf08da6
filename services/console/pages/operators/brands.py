"""Brands: how one deployment looks to several audiences."""

from functools import partial
from typing import Any, Final

from starlette.exceptions import HTTPException
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

_PATH = "/operator/brands"
_TEXTS: Final = (
    "title",
    "accent",
    "api_url",
    "key_prefix",
    "mask",
    "request_id_header",
    "upstream_account_id_header",
)
_LINES: Final = ("hosts", "base_paths")
_PAIRS: Final = ("words", "error_types", "openai_error_types", "error_codes")
_TICKS: Final = ("is_default", "reveal", "bare_errors", "model_list_extras", "google_keys_on_models")
_NUMBERS: Final = ("unknown_model_status", "default_max_tokens")
TOP_UPS: Final = {
    "voucher": ("With a voucher", auth_pb2.TOP_UP_VOUCHER),
    "card": ("With a card", auth_pb2.TOP_UP_CARD),
    "crypto": ("With a cryptocurrency", auth_pb2.TOP_UP_CRYPTO),
}
_FIELDS: Final = ("name", *_TEXTS, *_LINES, *_PAIRS, *_TICKS, *_NUMBERS, *(f"top_up_{name}" for name in TOP_UPS))
_LOGGED_LENGTH: Final = 500


async def show(request: Request) -> Response:
    """Every brand."""
    brands = await _brands(request)
    return console_of(request).renderer.page(request, "operators/brands.html", brands=brands)


async def new(request: Request) -> Response:
    """The form of a new brand."""
    return _page(request, Form({"top_up_voucher": "on"}), None)


async def add(request: Request) -> Response:
    """Adds a brand, unless its name is taken."""
    form = await Form.read(request, *_FIELDS)
    if any(brand.name == form["name"].strip() for brand in await _brands(request)):
        form.wrong("name", "There is a brand of this name.")
    return await _put(request, form, None)


async def one(request: Request) -> Response:
    """A brand's form."""
    brand = await _brand(request)
    return _page(request, form_of(brand), brand)


async def change(request: Request) -> Response:
    """Replaces a brand whole."""
    brand, form = await _brand(request), await Form.read(request, *_FIELDS)
    form.values["name"] = brand.name
    return await _put(request, form, brand)


async def delete(request: Request) -> Response:
    """Deletes a brand that no key has."""
    brand = await _brand(request)
    try:
        change = partial(console_of(request).clients.auth.DeleteBrand, auth_pb2.DeleteBrandRequest(name=brand.name))
        await deeds.done(request, "delete_brand", brand.name, change)
    except Refusal as refusal:
        return _page(request, deeds.beside(form_of(brand), refusal), brand)
    return redirect(request, _PATH, "deleted")


def form_of(brand: auth_pb2.Brand) -> Form:
    """A brand as its form shows it."""
    values = {name: getattr(brand, name) for name in ("name", *_TEXTS)}
    values |= {name: "\n".join(getattr(brand, name)) for name in _LINES}
    values |= {name: fields.pair_lines(getattr(brand, name), " = ") for name in _PAIRS}
    values |= {name: "on" if getattr(brand, name) else "" for name in _TICKS}
    values |= {name: str(getattr(brand, name) or "") for name in _NUMBERS}
    values |= {f"top_up_{name}": "on" if number in brand.top_ups else "" for name, (_, number) in TOP_UPS.items()}
    return Form(values)


def brand_of(form: Form) -> auth_pb2.Brand:
    """The brand that a form says; what is wrong is noted beside its field."""
    said: dict[str, Any] = {name: form[name].strip() for name in ("name", *_TEXTS)}
    said |= {name: fields.lines(form[name]) for name in _LINES}
    said |= {name: bool(form[name]) for name in _TICKS}
    for name in _PAIRS:
        try:
            said[name] = fields.pairs(form[name])
        except ValueError as error:
            form.wrong(name, str(error))
    for name in _NUMBERS:
        try:
            said[name] = fields.whole(form[name])
        except ValueError as error:
            form.wrong(name, str(error))
    top_ups = [number for name, (_, number) in TOP_UPS.items() if form[f"top_up_{name}"]]
    return auth_pb2.Brand(top_ups=top_ups, **said)


async def _put(request: Request, form: Form, before: auth_pb2.Brand | None) -> Response:
    brand = brand_of(form)
    if form.errors:
        return _page(request, form, before)
    details = {name: form[name][:_LOGGED_LENGTH] for name in _FIELDS if name != "name" and form[name]}
    try:
        change = partial(console_of(request).clients.auth.PutBrand, auth_pb2.PutBrandRequest(brand=brand))
        await deeds.done(request, "put_brand", brand.name, change, **details)
    except Refusal as refusal:
        words = {name: name for name in _FIELDS} | {"hosts": "host"}
        return _page(request, deeds.beside(form, refusal, **words), before)
    return redirect(request, _PATH, "saved")


async def _brands(request: Request) -> list[auth_pb2.Brand]:
    return list((await console_of(request).clients.auth.ListBrands(auth_pb2.ListBrandsRequest())).brands)


async def _brand(request: Request) -> auth_pb2.Brand:
    for brand in await _brands(request):
        if brand.name == request.path_params["brand"]:
            return brand
    raise HTTPException(404)


def _page(request: Request, form: Form, brand: auth_pb2.Brand | None) -> Response:
    return console_of(request).renderer.page(
        request, "operators/brand.html", 422 if form.errors else 200, form=form, edited=brand, top_ups=TOP_UPS
    )


_ONE = f"{_PATH}/{{brand}}"
routes = [
    operator(_PATH, show),
    operator(_PATH, add, ["POST"]),
    operator(f"{_PATH}/new", new),
    operator(_ONE, one),
    operator(_ONE, change, ["POST"]),
    operator(f"{_ONE}/delete", delete, ["POST"]),
]
