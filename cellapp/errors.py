"""The errors a user can act on: each says what is wrong, where, and what to do."""


class CellappError(Exception):
    """A problem told in one sentence; front ends show it as it is, without a traceback."""


class ImageError(CellappError):
    """An image file that cannot be read, or that cannot mean what was asked of it."""


class AxesError(ImageError):
    """A file with planes that nobody has said the meaning of, or without the plane that was asked for."""


class DotsError(CellappError):
    """Dot annotations that cannot be read, or that do not fit their image."""


class AnnotationError(CellappError):
    """Dots set in the browser that cannot be read or kept."""


class StaleAnnotation(AnnotationError):
    """Somebody else has saved meanwhile; ``kept`` is what is there now, an `annotation.Annotation`."""

    def __init__(self, kept):
        super().__init__("These dots were changed in another tab meanwhile; both changes are laid together.")
        self.kept = kept


class RegionError(CellappError):
    """A region that encloses nothing, does not fit its image, or cannot be read."""


class WeightsError(CellappError):
    """Weights that are missing, damaged, or of another network than the one asked for."""


class BenchmarkError(CellappError):
    """A labelled set that is not laid out as its benchmark needs it, or too small for what is asked."""


class CalibrationError(CellappError):
    """Too few images of known counts for an interval."""


class TrainingError(CellappError):
    """Training that cannot start, or that cannot go on."""


class WorkspaceError(CellappError):
    """A visitor's folder that is full, gone, or cannot be written."""


class ClusterError(CellappError):
    """A Dask cluster that cannot be reached, or whose workers would count in another way."""


class HubError(CellappError):
    """A repository on the Hugging Face Hub that cannot be read or written; ``again``: trying again may help."""

    def __init__(self, sentence: str, again: bool = False):
        super().__init__(sentence)
        self.again = again


class RunError(CellappError):
    """A ``run.json`` that cannot be read, or that cannot be counted again."""


class Cancelled(CellappError):
    """The user stopped the work; nothing is wrong."""
