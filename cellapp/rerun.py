"""Counting a recorded batch again, and saying where the counts differ."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cellapp import weights as store
from cellapp.batch import WHOLE, Result, count_many
from cellapp.errors import ImageError, RunError
from cellapp.image_files import clean
from cellapp.inputs import Input
from cellapp.run_record import Ends, Run, RunInput, ends_of, versions

# Another processor, thread number or version of PyTorch moves the last digits of float32 sums.
SAME_CELLS, SAME_SHARE = 0.01, 1e-4
SAME_ENDS = 10                                               # times that: an interval stretches differences


@dataclass(frozen=True)
class Outcome:
    """One image, or one region of it: the count then and now, and what is different, or ""."""

    name: str
    region: str
    then: float | None
    now: float | None
    difference: str


def changes(run: Run) -> list[str]:
    """Sentences: what is not as it was in the run, whatever the images are; weights that are not here are an error."""
    row, told = store.find(clean(run.weights, 100)), []
    if row.sha256 != run.weights_sha256:
        told.append(f"The weights {row.id} are not those of the run: sha256 {row.sha256[:12]}… instead of "
                    f"{run.weights_sha256[:12]}…")
    return told


def versions_that_differ(run: Run) -> str:
    """One sentence about the versions, for counts that differ; "" where they are the same."""
    mine = versions()
    apart = [f"{name} {clean(run.versions.get(name, ''), 20) or '?'} then, {now} now" for name, now in mine.items()
             if run.versions.get(name) != now]
    return f"Versions: {'; '.join(apart)}." if apart else ""


def rerun(run: Run, found: Sequence[Input], *, scheduler: str | None = None, device: str = "auto") -> Iterator[Outcome]:
    """Count the images of a run again.

    Parameters
    ----------
    found : the files among which the run's images are looked up by their names, as `cellapp.inputs.gather` gives them;
        where several have a name, the one with the recorded sha256

    Returns
    -------
    An `Outcome` for every image of the run in its order, each followed by those of its regions.

    Raises
    ------
    RunError, WeightsError, ClusterError
        When this is called.
    """
    options, regions = run.settings()
    pairs = _look_up(run.inputs, found)
    if not any(one for one, _ in pairs):
        raise RunError(f"None of the {len(pairs)} images of the run is here; give their folder or zip with --images.")
    results = count_many([one for one, _ in pairs if one], run.weights, options, regions=regions, scheduler=scheduler,
                         device=device, maps=False)
    return _outcomes(run.inputs, pairs, results)


def _look_up(wanted: Iterable[RunInput], found: Sequence[Input]) -> list[tuple[Input | None, str]]:
    """For each image the file that is meant, or None and why."""
    named: dict[str, list[Input]] = {}
    for one in found:
        named.setdefault(_last(one.path), []).append(one)
    return [_choose(image, named.get(_last(image.name), [])) for image in wanted]


def _choose(image: RunInput, candidates: list[Input]) -> tuple[Input | None, str]:
    whole = [one for one in candidates if f"/{one.path}".endswith(f"/{image.name}")]
    for few in (whole, candidates):
        if len(few) == 1:
            return few[0], ""
    same = [one for one in candidates if image.sha256 and _sha256(one) == image.sha256]
    if same:
        return same[0], ""
    return None, "several files have this name, none the recorded content" if candidates else "it is not here"


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _sha256(one: Input) -> str:
    try:
        return hashlib.sha256(one.read()).hexdigest()
    except ImageError:
        return ""


def _outcomes(wanted: list[RunInput], pairs: list[tuple[Input | None, str]], results: Iterator[Result]
              ) -> Iterator[Outcome]:
    for image, (one, missing) in zip(wanted, pairs, strict=True):
        name = clean(image.name, 300)
        if one is None:
            yield Outcome(name, WHOLE, image.count, None, missing)
            continue
        result = next(results)
        now = result.prediction and result.prediction.count
        told = [_changed(image, result), _status(image, result) or _apart(image.count, now)
                or _ends_apart(image.interval, ends_of(result.prediction and result.prediction.interval))]
        yield Outcome(name, WHOLE, image.count, now, "; ".join(filter(None, told)))
        there = {region.name: region for region in result.regions}
        for region in dict.fromkeys([*image.regions, *there]) if result.prediction and image.status == "ok" else ():
            then, found = image.regions.get(region), there.get(region)
            now = found and found.count
            yield Outcome(name, clean(region, 100), then, now, _apart(then, now)
                          or _ends_apart(image.region_intervals.get(region), ends_of(found)))


def _changed(image: RunInput, result: Result) -> str:
    changed = result.image and image.sha256 and result.image.sha256 != image.sha256
    return "the file was changed: it has another sha256" if changed else ""


def _status(image: RunInput, result: Result) -> str:
    if image.status == result.status:
        return ""
    return f"it could not be counted: {result.message}" if result.status != "ok" else "it could not be counted then"


def _apart(then: float | None, now: float | None) -> str:
    if then is None or now is None:
        return "" if then == now else "there is one count only"
    return "" if abs(then - now) <= SAME_CELLS + SAME_SHARE * abs(then) else f"{now - then:+.2f} cells"


def _ends_apart(then: Ends | None, now: Ends | None) -> str:
    """Records of older versions hold no intervals, so one that is new is no difference."""
    if then is None:
        return ""
    if now is not None and all(abs(a - b) <= SAME_ENDS * (SAME_CELLS + SAME_SHARE * abs(a))
                               for a, b in zip(then[:2], now[:2], strict=True)) and then[2] == now[2]:
        return ""
    was, is_ = ("none" if ends is None else f"{ends[0]:.1f} to {ends[1]:.1f} at {ends[2]:.0%}" for ends in (then, now))
    return f"another interval: {was} then, {is_} now"
