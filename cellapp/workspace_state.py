"""What a visitor has chosen, as it is kept in the workspace's ``state.json``."""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Kept(BaseModel):
    # A field that a later version dropped is no reason to lose the rest.
    model_config = ConfigDict(extra="ignore", frozen=True)


class StoredFile(_Kept):
    """A file of the visitor: the name to be shown, and the hash under which its bytes are kept.

    kind : "image", or "dots" for a file of dots that came along
    sample : one of the bundled examples, so nothing of the visitor's own
    error : why there are no bytes: the sentence that becomes its row
    """

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)
    kind: Literal["image", "dots"] = "image"
    sample: bool = False
    error: str = ""

    @property
    def id(self) -> str:
        """Names the file in its workspace: equal for the same content under the same name alone."""
        return hashlib.sha256(f"{self.sha256}\n{self.name}".encode()).hexdigest()[:24]


class Answer(_Kept):
    """What the user said of all files of one layout: which channel shows the cells, what the pages are, which plane.

    ``given`` tells a channel that was chosen from one that is taken for granted.
    """

    channel: str = "auto"
    pages: str = "ask"
    z: str = "max"
    frame: int = 1
    given: bool = False


class State(_Kept):
    """Everything of a workspace but its files and results. Its fields are set; what is in them is never changed.

    aside : (name, reason) of files that came along and are not counted
    answers : by the layout of files, as `cellapp.probe` names it
    extras : further reading options by name, those that only some methods have
    compared : weights chosen on the Compare page; None for its own first choice
    regions : regions drawn on one image, by the id of the file, as `Region.to_dict` gives them
    shared_regions, shared_shape : the regions of every image that has none of its own, and the (H, W) of the image on
        which they were drawn
    excluded : why an image is left out, by the id of the file
    dot_sigma : px of the Gaussian that stands for one dot when its target is shown; None for what the dots suggest
    dot_window : px of the side of a counting window, for methods that learn from windows; None for the usual one
    benchmark_set : the labelled set of the server that is measured on; None for one's own images
    stopped : the user stopped the counting, so nothing starts by itself
    """

    model_config = ConfigDict(frozen=False, validate_assignment=True)

    files: list[StoredFile] = []
    aside: list[tuple[str, str]] = []
    answers: dict[str, Answer] = {}
    weights: str | None = None
    cell_diameter: float | None = None
    polarity: str = "auto"
    extras: dict[str, bool | int | str] = {}
    compared: list[str] | None = None
    regions: dict[str, list[dict]] = {}
    shared_regions: list[dict] = []
    shared_shape: tuple[int, int] | None = None
    excluded: dict[str, str] = {}
    shown: str | None = None
    stopped: bool = False
    dot_sigma: float | None = None
    dot_window: int | None = None
    benchmark_set: str | None = None

    @property
    def images(self) -> list[StoredFile]:
        """The files to count, in the order in which they came."""
        return [file for file in self.files if file.kind == "image"]

    @property
    def dots(self) -> list[StoredFile]:
        """The dot files that came with the images."""
        return [file for file in self.files if file.kind == "dots"]
