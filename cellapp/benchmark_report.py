"""The outcome of a benchmark as rows of figures, and these as CSV, Markdown and LaTeX.

Figures are computed in each draw and averaged over the draws; the deviation is that of the draws (the papers' ±). Only
the coverage is that of all draws together. An interval is taken as it is, not rounded.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from cellapp.agreement import COLUMNS, Line, row_of
from cellapp.benchmark import Outcome
from cellapp.dot_tables import spreadsheet_text
from cellapp.metrics import GAME_LEVELS, Detection, count_errors

_SURE = 0.95                                                 # of the interval of the coverage


@dataclass(frozen=True)
class Row:
    """One line of the table; None is what does not apply.

    mae … max_error, game1 … game3 : cells per image; mae_sd : over the draws
    f1 : of detection; coverage : share of true counts in their interval, over all draws, with the ends of its own 95 %
        interval, as if no image were tested in two draws
    mean_width : of the intervals, cells; interval_score : width plus what a miss costs, cells, the smaller the better
    constant_score : the same of intervals that are equally wide for all images, from the same errors
    level, intervals : what the intervals promise, and where they come from or why there are none
    seconds : median for an image on one thread; gmac : billions of multiplications for 256×256 px
    """

    method: str
    n_train: int
    draws: int
    images: int
    mae: float
    mae_sd: float | None
    rmse: float
    mre: float | None
    r2: float | None
    bias: float
    max_error: float
    game1: float | None = None
    game2: float | None = None
    game3: float | None = None
    f1: float | None = None
    coverage: float | None = None
    coverage_low: float | None = None
    coverage_high: float | None = None
    mean_width: float | None = None
    interval_score: float | None = None
    constant_score: float | None = None
    without_interval: int = 0
    level: float | None = None
    intervals: str = ""
    seconds: float | None = None
    parameters: int | None = None
    gmac: float | None = None


def interval_score(low: np.ndarray, high: np.ndarray, true: np.ndarray, level: float) -> np.ndarray:
    """Gneiting and Raftery (2007), equation 43: the width, plus 2 / (1 - level) times the distance of a miss."""
    missed = np.maximum(low - true, 0) + np.maximum(true - high, 0)
    return high - low + 2 / (1 - level) * missed


def row(outcome: Outcome, n_train: int) -> Row:
    """The figures of one entry; ``n_train`` is how many images it learnt from in each draw."""
    each = [count_errors([line.predicted for line in draw.lines], [line.manual for line in draw.lines])
            for draw in outcome.draws]

    def mean(name: str) -> float | None:
        values = [value for e in each if np.isfinite(value := getattr(e, name))]
        return float(np.mean(values)) if values else None

    lines = [line for draw in outcome.draws for line in draw.lines]
    seconds = [s for draw in outcome.draws for s in draw.seconds]
    maes = [e.mae for e in each]
    return Row(
        outcome.entry.title, n_train if outcome.entry.learns else 0, len(each), each[0].images, mean("mae"),
        float(np.std(maes, ddof=1)) if len(maes) > 1 else None, mean("rmse"), mean("mre"), mean("r2"), mean("bias"),
        max(e.max_error for e in each), **_places(lines), **_sure(outcome, lines),
        seconds=float(np.median(seconds)) if seconds else None, parameters=outcome.parameters or None,
        gmac=outcome.gmac)


def _places(lines: Sequence[Line]) -> dict:
    """GAME and detection, over all images of all draws, where there are places to compare."""
    dotted = [line.game for line in lines if line.game]
    found = {f"game{level}": float(np.mean([game[level - 1] for game in dotted])) for level in GAME_LEVELS
             } if dotted else {}
    hits = [line.found for line in lines if line.found is not None]
    return found | ({"f1": sum(hits, Detection(0, 0, 0)).f1} if hits else {})


def _sure(outcome: Outcome, lines: Sequence[Line]) -> dict:
    from scipy.stats import binomtest

    told = [line for line in lines if line.low is not None]
    halves = np.array([draw.constant if draw.constant is not None else np.nan for draw in outcome.draws
                       for line in draw.lines if line.low is not None])
    level = next((draw.level for draw in outcome.draws if draw.level), None)
    how = {"intervals": next((draw.how for draw in outcome.draws), "")}
    if not told or level is None:
        return how
    low, high, true = (np.array([getattr(line, name) for line in told]) for name in ("low", "high", "manual"))
    middle = np.array([line.predicted for line in told])
    constant = interval_score(np.maximum(middle - halves, 0), middle + halves, true, level).mean()
    inside = int(((low <= true) & (true <= high)).sum())
    ends = binomtest(inside, len(told)).proportion_ci(_SURE, method="wilson")
    return how | {
            "level": level, "coverage": inside / len(told),
            "coverage_low": float(ends.low), "coverage_high": float(ends.high),
            "mean_width": float((high - low).mean()), "without_interval": len(lines) - len(told),
            "interval_score": float(interval_score(low, high, true, level).mean()),
            "constant_score": float(constant) if np.isfinite(constant) else None}


def table_csv(rows: Sequence[Row]) -> str:
    """All figures, one line for each row."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [f.name for f in fields(Row)]
    writer.writerow(names)
    for one in rows:
        writer.writerow([_plain(getattr(one, name)) for name in names])
    return out.getvalue()


def lines_csv(outcomes: Sequence[Outcome]) -> str:
    """Every image of every draw: method, draw, and the columns of ``agreement.csv``."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["method", "draw", *COLUMNS])
    for outcome in outcomes:
        for k, draw in enumerate(outcome.draws):
            for line in draw.lines:
                writer.writerow([_plain(outcome.entry.title), k + 1, *map(_plain, row_of(line).values())])
    return out.getvalue()


def _plain(value):
    if isinstance(value, str):
        return spreadsheet_text(value)
    return f"{value:.6g}" if isinstance(value, float) else "" if value is None else value


_HEADS = ("method", "N", "draws", "images", "MAE", "RMSE", "MRE", "R²", "bias", "largest error", "GAME(1–3)", "F1",
          "in the interval", "mean width", "interval score (constant width)", "intervals from", "s per image",
          "parameters", "GMAC")


def _cells(r: Row) -> list[str]:
    """One row of the table for readers."""
    games = [g for g in (r.game1, r.game2, r.game3) if g is not None]
    inside = "–" if r.coverage is None else (f"{100 * r.coverage:.1f} % ({100 * r.coverage_low:.1f} to "
                                             f"{100 * r.coverage_high:.1f})")
    if r.without_interval:
        inside += f", {r.without_interval} without"
    return [r.method, f"{r.n_train}" if r.n_train else "–", f"{r.draws}", f"{r.images}",
            f"{r.mae:.2f}" + ("" if r.mae_sd is None else f" ± {r.mae_sd:.2f}"), f"{r.rmse:.2f}", _number(r.mre, 4),
            _number(r.r2, 4), f"{r.bias:+.2f}", f"{r.max_error:.1f}", ", ".join(f"{g:.1f}" for g in games) or "–",
            _number(r.f1, 3), inside, _number(r.mean_width, 1), _score(r), _origin(r), _number(r.seconds, 3),
            f"{r.parameters:,}" if r.parameters else "–", _number(r.gmac, 2)]


def _origin(r: Row) -> str:
    return "–" if not r.intervals else r.intervals if r.level is None else f"{100 * r.level:.3g} %, {r.intervals}"


def _score(r: Row) -> str:
    constant = "" if r.constant_score is None else f" ({r.constant_score:.1f})"
    return _number(r.interval_score, 1) + constant


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.{decimals}f}"


def markdown(rows: Sequence[Row], about: str) -> str:
    """A table, under one sentence on what was measured."""
    lines = [about, "", "| " + " | ".join(_HEADS) + " |", "|---" * len(_HEADS) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in _cells(r)) + " |" for r in rows]
    return "\n".join([*lines, ""])


_TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "²": r"$^2$", "–": "--", "×": r"$\times$"}


def latex(rows: Sequence[Row], about: str) -> str:
    """The same as a ``table`` with ``booktabs`` rules."""
    def tex(text: str) -> str:
        return "".join(_TEX.get(c, c) for c in text)

    lines = [r"\begin{table}", r"\centering", rf"\caption{{{tex(about)}}}",
             rf"\begin{{tabular}}{{l{'r' * (len(_HEADS) - 1)}}}", r"\toprule",
             " & ".join(map(tex, _HEADS)) + r" \\", r"\midrule"]
    lines += [" & ".join(map(tex, _cells(r))) + r" \\" for r in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])
