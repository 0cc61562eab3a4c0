"""How far predictions are from the truth: errors of counts, also in parts of the image, and detection at a distance."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CountErrors:
    """Errors of ``images`` predicted counts. All but ``mre`` and ``r2`` are in cells per image.

    mae : mean absolute error; rmse : root mean square error; bias : mean of predicted minus true
    mre : mean of the relative errors of the images that hold cells; nan if none does
    r2 : 1 - residual / total sum of squares; nan where all true counts are equal
    """

    images: int
    mae: float
    rmse: float
    mre: float
    bias: float
    r2: float
    max_error: float


def count_errors(predicted: np.ndarray, true: np.ndarray) -> CountErrors:
    """Compare predicted with true counts, one of each per image."""
    predicted, true = np.asarray(predicted, float), np.asarray(true, float)
    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) == 0:
        raise ValueError(f"need as many predicted counts as true ones, not {predicted.shape} and {true.shape}")
    error = predicted - true
    some = true > 0
    spread = ((true - true.mean()) ** 2).sum()
    return CountErrors(
        images=len(true),
        mae=float(np.abs(error).mean()),
        rmse=float(np.sqrt((error**2).mean())),
        mre=float((np.abs(error[some]) / true[some]).mean()) if some.any() else float("nan"),
        bias=float(error.mean()),
        r2=float(1 - (error**2).sum() / spread) if spread > 0 else float("nan"),
        max_error=float(np.abs(error).max()),
    )


FEWEST = 5                                                   # images below which no factor is fitted


def global_factor(counts: np.ndarray, truth: np.ndarray) -> float:
    """The b of truth ≈ b · counts by least squares if it is positive and more than two standard errors away from one,
    else 1; also 1 for fewer than `FEWEST` images, which cannot tell."""
    power = float(counts @ counts)
    if len(counts) < FEWEST or power == 0:
        return 1.0
    b = float(counts @ truth) / power
    error = np.sqrt(np.square(truth - b * counts).sum() / (len(counts) - 1) / power)
    return b if b > 0 and abs(b - 1) > 2 * error else 1.0


@dataclass(frozen=True)
class Detection:
    """Matches between detected and true cells; several images add up with ``+``."""

    hits: int
    predicted: int
    true: int

    def __add__(self, other: "Detection") -> "Detection":
        return Detection(self.hits + other.hits, self.predicted + other.predicted, self.true + other.true)

    @property
    def precision(self) -> float:
        return self.hits / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        return self.hits / self.true if self.true else float("nan")

    @property
    def f1(self) -> float:
        return 2 * self.hits / (self.predicted + self.true) if self.predicted + self.true else float("nan")


def match_points(predicted: np.ndarray, true: np.ndarray, distance: float) -> Detection:
    """How many points can be paired one to one at most ``distance`` px apart."""
    return Detection(len(match_pairs(predicted, true, distance)), len(predicted), len(true))


def match_pairs(predicted: np.ndarray, true: np.ndarray, distance: float) -> np.ndarray:
    """Pair points one to one so that as many pairs as possible are at most ``distance`` px apart.

    A maximum matching of the graph of near pairs (Hopcroft-Karp): no order of the points can change its size.

    Returns
    -------
    (M, 2) int: which predicted point belongs to which true one
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    predicted, true = np.asarray(predicted, float).reshape(-1, 2), np.asarray(true, float).reshape(-1, 2)
    if len(predicted) == 0 or len(true) == 0:
        return np.empty((0, 2), np.int64)
    # Distances of exactly zero would vanish from the sparse matrix, so the graph is built from the pairs.
    near = cKDTree(predicted).query_ball_point(true, distance)
    indptr = np.concatenate([[0], np.cumsum([len(n) for n in near])])
    indices = np.fromiter((j for n in near for j in n), dtype=np.int64, count=int(indptr[-1]))
    graph = csr_array((np.ones(len(indices), bool), indices, indptr), shape=(len(true), len(predicted)))
    matched = maximum_bipartite_matching(graph, perm_type="column")
    hit = np.flatnonzero(matched >= 0)
    return np.stack([matched[hit].astype(np.int64), hit], axis=1)


GAME_LEVELS = (1, 2, 3)
_FINEST = 2 ** GAME_LEVELS[-1]                              # parts along each side of the image


def game(predicted: np.ndarray, true: np.ndarray) -> tuple[float, ...]:
    """GAME(1), (2) and (3) of one image: the sum of the absolute errors in its 4, 16 and 64 equal parts.

    The grid average mean absolute error of Guerrero-Gómez-Olmedo et al. (2015), equation 2, where it is averaged over
    the images; GAME(0) is the absolute error. It never falls with the level: cells counted in the wrong place do not
    make up for cells missed elsewhere.

    predicted, true : (8, 8) cells in each part, of `parts_of_map` or `parts_of_points`
    """
    error, sums = predicted - true, []
    for level in GAME_LEVELS:
        side, block = 2**level, _FINEST // 2**level
        sums.append(float(np.abs(error.reshape(side, block, side, block).sum(axis=(1, 3))).sum()))
    return tuple(sums)


def parts_of_map(density: np.ndarray) -> np.ndarray:
    """(8, 8) float64: the cells of an (H, W) density map in each of 64 equal parts of the image."""
    (rows, top), (columns, left) = (np.unique(part, return_index=True) for part in _parts(density.shape))
    strips = np.add.reduceat(density, top, axis=0, dtype=np.float64)
    sums = np.zeros((_FINEST, _FINEST))
    sums[np.ix_(rows, columns)] = np.add.reduceat(strips, left, axis=1)
    return sums


def parts_of_points(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(8, 8) float64: how many of (N, 2) points lie in each of 64 equal parts of an image of (H, W)."""
    pixels = np.clip(np.floor(np.reshape(points, (-1, 2)) + 0.5).astype(np.int64), 0, np.array(shape) - 1)
    rows, columns = _parts(shape)
    sums = np.zeros((_FINEST, _FINEST))
    np.add.at(sums, (rows[pixels[:, 0]], columns[pixels[:, 1]]), 1)
    return sums


def _parts(shape: tuple[int, int]) -> list[np.ndarray]:
    """In which of the 8 parts each row and each column of pixels lies."""
    return [np.arange(side) * _FINEST // side for side in shape]
