"""Words from files on the page, and numbers in words."""

from math import ceil, floor

from cellapp.prediction import Interval

_SOURCES = {
    "aleatoric": "the network's own estimate of its error (aleatoric); not a guarantee",
    "ensemble": "the spread of several networks (ensemble); not a guarantee",
    "conformal": "conformal, from the errors on images with known counts; it holds for images like those",
}


def plain(text: str) -> str:
    """File names and messages are shown as they are, never as Markdown, a link or a formula."""
    return "".join("\\" + c if c in r"\`*_{}[]()#+-.!|<>~$:" else c for c in text)


def interval_text(interval: Interval | None) -> str:
    """"130–157, 95 %" in whole cells, rounded outwards, never below zero; "" without an interval."""
    if interval is None:
        return ""
    low, high = (max(0, end) for end in (floor(interval.low), ceil(interval.high)))
    return f"{low:,}–{high:,}, {interval.level:.0%}".replace("%", " %")


def interval_source(interval: Interval | None) -> str:
    """Where an interval comes from, in words."""
    if interval is None:
        return "no interval: neither network nor calibration gives one"
    return f"interval: {_SOURCES.get(interval.source, interval.source)}"
