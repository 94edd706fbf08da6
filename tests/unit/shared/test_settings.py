"""Unit tests of services.shared.settings."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared import settings
from services.shared.settings import Secret, SettingsError, load, setting


@dataclass(frozen=True)
class Toy:
    url: Secret = setting("where it is")
    name: str = setting("what it is called", default="toy")
    port: int = setting("where it listens", default=7000, at_least=1, at_most=65535)
    wait_s: float = setting("how long it waits", default=1.5, at_least=0.1)
    loud: bool = setting("whether it squeaks", default=False)
    password: Secret | None = setting("what opens it", default=None)


def test_values_are_read_from_the_environment_in_their_types() -> None:
    toy = load(
        Toy,
        "toy",
        {
            "TOLLHOUSE_TOY_URL": "nats://u:p@h",
            "TOLLHOUSE_TOY_NAME": "bear",
            "TOLLHOUSE_TOY_PORT": "8080",
            "TOLLHOUSE_TOY_WAIT_S": "0.25",
            "TOLLHOUSE_TOY_LOUD": "Yes",
            "TOLLHOUSE_TOY_PASSWORD": "sesame",
            "UNRELATED": "x",
            "TOLLHOUSE_OTHER_PORT": "x",
        },
    )
    assert toy == Toy(Secret("nats://u:p@h"), "bear", 8080, 0.25, True, Secret("sesame"))


def test_what_is_not_set_has_its_default() -> None:
    assert load(Toy, "toy", {"TOLLHOUSE_TOY_URL": "x"}) == Toy(Secret("x"), "toy", 7000, 1.5, False, None)


def test_settings_cannot_be_changed_once_they_are_read() -> None:
    toy = load(Toy, "toy", {"TOLLHOUSE_TOY_URL": "x"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        toy.port = 1  # type: ignore[misc]


def test_all_faults_are_reported_together() -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            Toy,
            "toy",
            {
                "TOLLHOUSE_TOY_PORT": "70000",
                "TOLLHOUSE_TOY_WAIT_S": "soon",
                "TOLLHOUSE_TOY_LOUD": "perhaps",
                "TOLLHOUSE_TOY_COLOUR": "red",
            },
        )
    lines = str(caught.value).splitlines()
    assert lines == [
        "TOLLHOUSE_TOY_URL is not set: where it is",
        "TOLLHOUSE_TOY_PORT: 70000 is above 65535",
        "TOLLHOUSE_TOY_WAIT_S: 'soon' is not a number",
        "TOLLHOUSE_TOY_LOUD: 'perhaps' is neither true nor false",
        "TOLLHOUSE_TOY_COLOUR is not a setting of toy",
    ]


@pytest.mark.parametrize(("port", "fits"), [("0", False), ("1", True), ("65535", True), ("65536", False)])
def test_bounds_are_part_of_the_range(port: str, fits: bool) -> None:
    environment = {"TOLLHOUSE_TOY_URL": "x", "TOLLHOUSE_TOY_PORT": port}
    if fits:
        assert load(Toy, "toy", environment).port == int(port)
    else:
        with pytest.raises(SettingsError, match="TOLLHOUSE_TOY_PORT"):
            load(Toy, "toy", environment)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_no_bound_can_judge_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="not a finite number"):
        load(Toy, "toy", {"TOLLHOUSE_TOY_URL": "x", "TOLLHOUSE_TOY_WAIT_S": text})


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("ON", True), ("yes", True), ("false", False), ("0", False), ("off", False)],
)
def test_truth_is_written_in_several_ways(text: str, value: bool) -> None:
    assert load(Toy, "toy", {"TOLLHOUSE_TOY_URL": "x", "TOLLHOUSE_TOY_LOUD": text}).loud is value


def test_a_file_holds_a_value_without_its_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("nats://u:p@h\n")
    toy = load(Toy, "toy", {"TOLLHOUSE_TOY_URL_FILE": str(tmp_path / "secret")})
    assert toy.url.reveal() == "nats://u:p@h"


def test_a_file_that_is_not_there_is_reported_by_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"TOLLHOUSE_TOY_URL: .*missing"):
        load(Toy, "toy", {"TOLLHOUSE_TOY_URL_FILE": str(tmp_path / "missing")})


def test_a_value_and_a_file_at_once_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    environment = {"TOLLHOUSE_TOY_URL": "x", "TOLLHOUSE_TOY_URL_FILE": str(tmp_path / "secret")}
    with pytest.raises(SettingsError, match="not both"):
        load(Toy, "toy", environment)


def test_an_empty_secret_is_refused_where_one_is_needed_and_none_where_it_is_not() -> None:
    with pytest.raises(SettingsError, match="TOLLHOUSE_TOY_URL: is empty"):
        load(Toy, "toy", {"TOLLHOUSE_TOY_URL": ""})
    assert load(Toy, "toy", {"TOLLHOUSE_TOY_URL": "x", "TOLLHOUSE_TOY_PASSWORD": ""}).password is None


@given(st.text(min_size=8))
def test_a_secret_shows_itself_only_when_it_is_asked_to(value: str) -> None:
    secret = Secret(value)
    toy = Toy(secret)
    assert secret.reveal() == value
    assert repr(secret) == str(secret) == f"{secret}" == "Secret(***)"
    assert repr(toy).startswith("Toy(url=Secret(***), name=")


def test_secrets_are_equal_when_what_they_hide_is() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_variable_is_named_after_its_service_and_field() -> None:
    assert settings.variable("edge", "body_max_bytes") == "TOLLHOUSE_EDGE_BODY_MAX_BYTES"
