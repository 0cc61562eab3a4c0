"""``run.json``: what was counted, with what, and the command that counts it again.

A record may come from anybody, so reading one gives data and nothing else: no path in it is ever opened, no address
connected to, no command run. Files are looked up by name among those of a folder that the user names.
"""

import datetime
import platform
import shlex
from collections.abc import Iterator, Sequence
from importlib import metadata
from os import PathLike
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cellapp import __version__
from cellapp import weights as store
from cellapp.batch import Result
from cellapp.calibration_row import Finite
from cellapp.errors import RunError
from cellapp.image_files import clean
from cellapp.methods import Options
from cellapp.prediction import Interval
from cellapp.region_files import write_regions
from cellapp.regions import Region, RegionCount

NAME, REGIONS = "run.json", "regions.geojson"
FORMAT = "cellapp run 1"
MAX_BYTES = 64 * 1024**2                                     # of a record that is read
MAX_INPUTS = 100_000
MAX_REGIONS = 10_000


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Ends = tuple[Finite, Finite, Finite]


class RunInput(_Part):
    """One image of the run."""

    name: str = Field(max_length=4096, description="file name; with its folders where several images have the same one")
    sha256: str | None = Field(None, pattern=r"^[0-9a-f]{64}$", description="of the file; null where it was not read")
    status: str = Field(description="ok, or error")
    message: str = ""
    count: float | None = Field(None, allow_inf_nan=False)
    interval: Ends | None = Field(None, description="of the count: low, high and level")
    regions: dict[str, float | None] = Field(default_factory=dict, description="count by the name of the region")
    region_intervals: dict[str, Ends] = Field(default_factory=dict, description="of the regions that have one")
    excluded: str = Field("", description="why the user left it out")
    n_manual: int | None = None


class Run(_Part):
    """A batch: everything its counts depend on, and the counts."""

    format: str = FORMAT
    date: datetime.datetime
    versions: dict[str, str] = Field(description="of cellapp, Python, PyTorch and NumPy")
    weights: str = Field(description="id in the manifest")
    weights_sha256: str
    method: str
    device: str = Field(description="cpu or cuda; of a cluster those of its workers")
    options: dict[str, str | int | float | bool | None]
    regions: list[dict] = Field(default_factory=list, max_length=MAX_REGIONS)
    command: str = Field(description="the command line that counts the same images in the same way")
    inputs: list[RunInput] = Field(max_length=MAX_INPUTS)

    def settings(self) -> tuple[Options, list[Region]]:
        """Options and regions, checked; what this version does not know is a `RunError`."""
        try:
            return Options(**self.options), [Region.from_dict(region) for region in self.regions]
        except ValidationError as error:
            first = error.errors()[0]
            option = clean(".".join(map(str, first["loc"])), 40)
            raise RunError(f"{NAME}: its option {option} is not one of this version ({first['msg'].lower()}); use "
                           f"cellapp {self.made_with}.") from error

    @property
    def made_with(self) -> str:
        """Version of cellapp, safe to show."""
        return clean(self.versions.get("cellapp", ""), 20) or "of another version"

    def to_json(self) -> bytes:
        """The file's content."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class Recorder:
    """Collects a `Run` result by result; keeps no image and no map."""

    def __init__(self, row: store.Weights, options: Options, regions: Sequence[Region] = (), *,
                 command: str | None = None):
        self._row, self._options, self._regions = row, options, list(regions)
        self._command = command or command_line(["IMAGES"], row.id, options, REGIONS if regions else None)
        self._inputs: list[RunInput] = []
        self._devices: dict[str, None] = {}

    def add(self, result: Result) -> None:
        """Note the next result."""
        prediction = result.prediction
        if prediction is not None:
            self._devices[prediction.device] = None
        self._inputs.append(RunInput(
            name=result.name, sha256=result.image and result.image.sha256, status=result.status,
            message=result.message, count=prediction and prediction.count, excluded=result.excluded,
            n_manual=result.n_manual, interval=ends_of(prediction and prediction.interval),
            regions={region.name: region.count for region in result.regions},
            region_intervals={region.name: ends for region in result.regions if (ends := ends_of(region))}))

    def run(self) -> Run:
        """What was noted so far."""
        return Run(date=datetime.datetime.now(datetime.UTC).replace(microsecond=0), versions=versions(),
                   weights=self._row.id, weights_sha256=self._row.sha256, method=self._row.method,
                   device=", ".join(self._devices) or "none", options=self._options.model_dump(mode="json"),
                   regions=[region.to_dict() for region in self._regions], command=self._command,
                   inputs=self._inputs)

    def files(self) -> Iterator[tuple[str, bytes]]:
        """``run.json``, and the regions where there are some."""
        yield NAME, self.run().to_json()
        if self._regions:
            yield REGIONS, write_regions(self._regions)


def ends_of(known: Interval | RegionCount | None) -> Ends | None:
    """Low, high and level; None where there is no interval."""
    return None if known is None or known.low is None else (known.low, known.high, known.level)


def versions() -> dict[str, str]:
    """Of what a count may depend on."""
    return {"cellapp": __version__, "python": platform.python_version(),
            **{name: metadata.version(name) for name in ("torch", "numpy")}}


def command_line(images: Sequence[str], weights: str, options: Options, regions: str | None = None) -> str:
    """The command that counts these images with these weights and options."""
    words = ["python", "-m", "cellapp", "count", *images, "--weights", weights]
    for name, field in Options.model_fields.items():
        value, flag = getattr(options, name), f"--{name.replace('_', '-')}"
        if value != field.default:
            words += [flag] if value is True else [flag, str(value)]
    return shlex.join([*words, *(["--regions", regions] if regions else [])])


def read_run(source: str | PathLike | bytes) -> Run:
    """A record out of ``run.json``; `RunError` for everything that is none."""
    name = NAME if isinstance(source, bytes) else Path(source).name
    try:
        if isinstance(source, bytes):
            data = source
        else:
            with open(source, "rb") as file:
                data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RunError(f"{name}: it has more than {MAX_BYTES // 1024**2} MB, which no record has; give the "
                           f"{NAME} of a count.")
        run = Run.model_validate_json(data)
    except OSError as error:
        raise RunError(f"{name}: the file cannot be opened ({error.strerror or error}); give the {NAME} of a "
                       "count.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = clean(".".join(map(str, first["loc"])), 60) or "the file"
        raise RunError(f"{name}: this is no record of a count, or a damaged one ({where}: {first['msg'].lower()}); "
                       f"give the {NAME} of a count.") from error
    if run.format != FORMAT:
        raise RunError(f"{name}: it is of another version ({run.format[:40]!r}), and {FORMAT!r} is read here; use "
                       f"cellapp {run.made_with}.")
    return run
