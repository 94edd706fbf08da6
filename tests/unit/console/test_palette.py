"""Unit tests of services.console.palette."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.palette import ACCENT, READABLE, contrast, palette, parse

WHITE, BLACK, LIGHT_PAGE, DARK_SURFACE = (255, 255, 255), (0, 0, 0), (246, 247, 246), (27, 32, 31)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast(BLACK, WHITE) == pytest.approx(21)
    assert contrast(WHITE, WHITE) == pytest.approx(1)
    assert contrast(parse("#777777"), WHITE) == pytest.approx(4.48, abs=0.01)


@given(st.integers(0, 0xFFFFFF))
def test_whatever_colour_a_brand_has_its_pages_can_be_read(number: int) -> None:
    made = palette(f"#{number:06x}")
    assert contrast(parse(made.light), LIGHT_PAGE) >= READABLE
    assert contrast(parse(made.dark), DARK_SURFACE) >= READABLE
    assert contrast(parse(made.light_text), parse(made.light)) >= READABLE
    assert contrast(parse(made.dark_text), parse(made.dark)) >= READABLE


@given(st.integers(0, 0xFFFFFF))
def test_what_is_chosen_can_be_read_on_its_tinted_ground(number: int) -> None:
    made = palette(f"#{number:06x}")
    for shade, page in ((parse(made.light), LIGHT_PAGE), (parse(made.dark), DARK_SURFACE)):
        red, green, blue = (round(under * 0.91 + over * 0.09) for under, over in zip(page, shade, strict=True))
        assert contrast(shade, (red, green, blue)) >= READABLE


def test_a_colour_that_can_be_read_stays_as_it_is() -> None:
    assert palette(ACCENT).light == ACCENT
    assert palette("").light == ACCENT


def test_the_stylesheet_has_both_pages_and_lets_the_switch_win() -> None:
    css = palette("#2456d6").css()
    assert css.startswith(":root{--accent:#2456d6;")
    assert "prefers-color-scheme:dark" in css
    assert ":root:not([data-theme=light])" in css
    assert ":root[data-theme=dark]" in css
