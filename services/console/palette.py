"""A brand's colours: the shades that a page needs of one accent, each light or dark enough to be read. Pure.

Contrast is that of WCAG 2.2 (https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio); text needs 4.5 to 1.
"""

import colorsys
from dataclasses import dataclass
from typing import Final

ACCENT: Final = "#0f6b5c"
"""Of brands that have none."""
READABLE: Final = 4.5
_WHITE: Final = (255, 255, 255)
_BLACK: Final = (0, 0, 0)
_LIGHT_PAGE: Final = (246, 247, 246)
_DARK_PAGE: Final = (27, 32, 31)  # the lightest surface that text stands on where pages are dark
_STEPS: Final = 50
_TINT: Final = 0.09
"""How much of the accent is mixed into the page behind what is chosen, where the accent is its text."""

Rgb = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Palette:
    """What stands in /brand.css, for light and for dark pages."""

    light: str
    light_text: str
    """On a surface of `light`."""
    dark: str
    dark_text: str

    def css(self) -> str:
        """Custom properties that console.css builds on."""
        light = f"--accent:{self.light};--on-accent:{self.light_text}"
        dark = f"--accent:{self.dark};--on-accent:{self.dark_text}"
        return (
            f":root{{{light}}}\n"
            f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}\n"
            f":root[data-theme=dark]{{{dark}}}\n"
        )


def palette(accent: str) -> Palette:
    """The shades of an accent such as "#0f6b5c"; of ACCENT when it is empty."""
    colour = parse(accent or ACCENT)
    light, dark = _towards(colour, _BLACK, _LIGHT_PAGE), _towards(colour, _WHITE, _DARK_PAGE)
    return Palette(_hex(light), _text_on(light), _hex(dark), _text_on(dark))


def parse(colour: str) -> Rgb:
    """Red, green and blue. Raises ValueError."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def contrast(one: Rgb, other: Rgb) -> float:
    """From 1, the same, to 21, black on white."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _towards(colour: Rgb, end: Rgb, page: Rgb) -> Rgb:
    """The first shade on the way to black or white, the hue kept, that can be read as text on a page, tinted or not."""
    hue, light, saturation = colorsys.rgb_to_hls(*(part / 255 for part in colour))
    last = 1.0 if end == _WHITE else 0.0
    for step in range(_STEPS + 1):
        lightness = light + (last - light) * step / _STEPS
        red, green, blue = (round(part * 255) for part in colorsys.hls_to_rgb(hue, lightness, saturation))
        shade = red, green, blue
        if min(contrast(shade, page), contrast(shade, _tinted(page, shade))) >= READABLE:
            return shade
    return end


def _tinted(page: Rgb, shade: Rgb) -> Rgb:
    """A page behind what is chosen: `--soft` of console.css."""
    red, green, blue = (round(under + (over - under) * _TINT) for under, over in zip(page, shade, strict=True))
    return red, green, blue


def _text_on(colour: Rgb) -> str:
    return _hex(max((_WHITE, (16, 20, 19)), key=lambda text: contrast(text, colour)))


def _hex(colour: Rgb) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)


def _luminance(colour: Rgb) -> float:
    red, green, blue = (_linear(part / 255) for part in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
