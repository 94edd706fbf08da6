"""Unit tests of services.edge.shapes."""

import pytest

from services.edge.apis import Api
from services.edge.brand import Brand
from services.edge.dialects.speech import SPEECHES
from services.edge.shapes import honours_google_keys, shape

ANY = Brand()
SELECTIVE = Brand(google_keys_on_models=False)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/openai/gpt-5.2"])
@pytest.mark.parametrize(
    ("anthropic_version", "google_key", "expected"),
    [(True, True, "anthropic"), (True, False, "anthropic"), (False, True, "gemini"), (False, False, "openai")],
)
def test_the_headers_choose_the_shape_of_the_model_list(
    path: str, anthropic_version: bool, google_key: bool, expected: str
) -> None:
    assert shape(path, anthropic_version=anthropic_version, google_key=google_key) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1beta/models", "gemini"),
        ("/v1beta/models/x", "gemini"),
        ("/v1beta/files", "gemini"),
        ("/v1beta/openai/models", "openai"),
        ("/v1beta/openai/models/x", "openai"),
        ("/v1/images/generations", "openai"),
        ("/v1/modelsandmore", "anthropic"),
        ("/v1/usage", "anthropic"),
        ("/nothing", "anthropic"),
        ("/", "anthropic"),
    ],
)
def test_elsewhere_the_path_alone_says_it(path: str, expected: str) -> None:
    for anthropic_version in (True, False):
        for google_key in (True, False):
            assert shape(path, anthropic_version=anthropic_version, google_key=google_key) == expected


@pytest.mark.parametrize("api", Api)
def test_another_method_of_the_relays_paths_is_refused_in_the_same_words(api: Api) -> None:
    assert shape(api.value, anthropic_version=False, google_key=False) == SPEECHES[api].dialect


@pytest.mark.parametrize(
    "path",
    ["/v1beta/models", "/v1beta/models/x", "/v1beta/openai/models", "/v1beta/openai/models/x", "/v1/models/openai/x"],
)
@pytest.mark.parametrize("brand", [ANY, SELECTIVE])
def test_googles_forms_of_a_key_are_honoured_on_every_list_of_one_shape(path: str, brand: Brand) -> None:
    assert honours_google_keys(path, brand)


def test_the_list_of_all_shapes_honours_them_by_brand() -> None:
    assert honours_google_keys("/v1/models", ANY)
    assert not honours_google_keys("/v1/models", SELECTIVE)


@pytest.mark.parametrize(
    "path", ["/v1/usage", "/v1/balance", "/v1/messages", "/v1beta/files", "/v1/modelsandmore", "/"]
)
def test_no_other_path_honours_them(path: str) -> None:
    assert not honours_google_keys(path, ANY)
