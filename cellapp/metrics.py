"""How far predictions are from the truth: errors of counts, and detection at a distance."""

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
    """Pair points one to one so that as many pairs as possible are at most ``distance`` px apart.

    A maximum matching of the graph of near pairs (Hopcroft-Karp): no order of the points can change it.
    """
    from scipy.sparse.csgraph import maximum_bipartite_matching
    from scipy.spatial import cKDTree

    predicted, true = np.asarray(predicted, float).reshape(-1, 2), np.asarray(true, float).reshape(-1, 2)
    if len(predicted) == 0 or len(true) == 0:
        return Detection(0, len(predicted), len(true))
    # Distances of exactly zero would vanish from the sparse matrix, so the graph is built from the pairs.
    near = cKDTree(predicted).query_ball_point(true, distance)
    from scipy.sparse import csr_array

    indptr = np.concatenate([[0], np.cumsum([len(n) for n in near])])
    indices = np.fromiter((j for n in near for j in n), dtype=np.int64, count=int(indptr[-1]))
    graph = csr_array((np.ones(len(indices), bool), indices, indptr), shape=(len(true), len(predicted)))
    matched = maximum_bipartite_matching(graph, perm_type="column")
    return Detection(int((matched >= 0).sum()), len(predicted), len(true))
