"""Vectors of many dimensions as points in the plane: pure functions on arrays, without chance.

Two principal axes alone show little of texts: they hold a few per cent of the variance, and everything lies in one heap. So some
hundreds of landmarks (centres of k-means) are laid out by their neighbourhoods (t-SNE: van der Maaten and Hinton, JMLR 2008), and
every point is put among those that are nearest to it. That also places what comes later, such as a query, without a new layout.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

FITTED_MAX = 8_192  # vectors that axes and landmarks are fitted on
_AXES_MAX = 48
_LANDMARKS_MAX = 512
_LLOYD_ROUNDS = 12
_LAYOUT_ROUNDS = 400
_EXAGGERATED_ROUNDS, _EXAGGERATION = 100, 6.0
_PERPLEXITY = 14.0
_AMONG = 8  # landmarks that a point is put among
_AMONG_PERPLEXITY = 2.0
_BLOCK = 8_192
_KEPT_SAMPLE, _KEPT_NEIGHBOURS = 512, 10
_TINY = 1e-12


class Plane(msgspec.Struct, frozen=True, eq=False):
    """Where vectors lie in the plane. `mean` (d,) and `axes` (d, p) are the principal axes, `landmarks` (m, p) lie in those, at
    `places` (m, 2) in the plane. `variance_share` is what the first two axes hold of the variance.
    """

    mean: Floats
    axes: Floats
    landmarks: Floats
    places: Floats
    variance_share: float

    def reduced(self, vectors: Floats) -> Floats:
        """Vectors (n, d) along the axes (n, p)."""
        found: Floats = np.matmul(vectors - self.mean, self.axes)
        return found

    def place(self, reduced: Floats) -> Floats:
        """The points (n, 2) of vectors along the axes (n, p)."""
        return np.concatenate([self._block(reduced[start : start + _BLOCK]) for start in range(0, len(reduced), _BLOCK)])

    def _block(self, reduced: Floats) -> Floats:
        distances = squared_distances(reduced, self.landmarks)
        among = min(_AMONG, len(self.landmarks))
        nearest = np.argpartition(distances, among - 1, axis=1)[:, :among]
        near = np.take_along_axis(distances, nearest, axis=1)
        weights = _affinities(near, min(_AMONG_PERPLEXITY, among))
        placed: Floats = np.einsum("nk,nkc->nc", weights, self.places[nearest]).astype(np.float32)
        return placed


def fitted(vectors: Floats) -> Plane:
    """A plane for vectors like these (n, d), of which n is at least 1."""
    sample = vectors[evenly(len(vectors), FITTED_MAX)]
    mean, axes, share = _principal(sample)
    reduced = ((sample - mean) @ axes).astype(np.float32)
    landmarks = _landmarks(reduced)
    return Plane(mean=mean, axes=axes, landmarks=landmarks, places=_laid_out(landmarks), variance_share=share)


def neighbours_kept(reduced: Floats, places: Floats) -> float | None:
    """How true the picture is: of the ten nearest in all dimensions the mean share that is among the nearest two per cent in the
    plane, for some hundreds of points. None of fewer than a hundred."""
    count = len(reduced)
    if count < 10 * _KEPT_NEIGHBOURS:
        return None
    asked = evenly(count, _KEPT_SAMPLE)
    among = max(_KEPT_NEIGHBOURS, count // 50)
    true = _nearest(reduced, asked, _KEPT_NEIGHBOURS)
    shown = _nearest(places, asked, among)
    return float(
        np.mean([len(np.intersect1d(a, b, assume_unique=True)) / _KEPT_NEIGHBOURS for a, b in zip(true, shown, strict=True)])
    )


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Of each row to each row: (n, m)."""
    found: Floats = (a * a).sum(1)[:, None] - 2.0 * (a @ b.T) + (b * b).sum(1)[None, :]
    return np.maximum(found, 0.0)


def _nearest(points: Floats, asked: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    distances = squared_distances(points[asked], points)
    distances[np.arange(len(asked)), asked] = np.inf  # nobody is a neighbour of himself
    found: NDArray[np.int64] = np.argpartition(distances, count - 1, axis=1)[:, :count]
    return found


def evenly(count: int, wanted: int) -> NDArray[np.int64]:
    """At most so many of the numbers below `count`, evenly spread."""
    return np.arange(count) if count <= wanted else np.arange(wanted) * count // wanted


def _principal(sample: Floats) -> tuple[Floats, Floats, float]:
    """The mean, the principal axes as columns, and the first two axes' share of the variance."""
    mean = sample.mean(0)
    centred = sample - mean
    values, axes = np.linalg.eigh((centred.T @ centred / max(1, len(sample))).astype(np.float64))
    values, axes = np.maximum(values[::-1], 0.0), axes[:, ::-1]
    largest = np.abs(axes).argmax(0)
    axes = axes * np.sign(axes[largest, np.arange(axes.shape[1])])  # an axis has no direction of its own: give it one
    kept = max(1, min(_AXES_MAX, axes.shape[1]))
    total = float(values.sum())
    share = float(values[:2].sum() / total) if total > 0 else 1.0
    return mean.astype(np.float32), np.ascontiguousarray(axes[:, :kept], dtype=np.float32), share


def _landmarks(reduced: Floats) -> Floats:
    """Centres of k-means; the points themselves where there are no more of them."""
    different = np.unique(reduced, axis=0)
    if len(different) <= _LANDMARKS_MAX:
        return np.ascontiguousarray(different)
    centres = _spread(reduced)
    for _ in range(_LLOYD_ROUNDS):
        nearest = squared_distances(reduced, centres).argmin(1)
        order = nearest.argsort(kind="stable")
        filled, starts, counts = np.unique(nearest[order], return_index=True, return_counts=True)
        centres[filled] = np.add.reduceat(reduced[order], starts, axis=0) / counts[:, None].astype(np.float32)
    return np.unique(centres, axis=0)


def _spread(reduced: Floats) -> Floats:
    """Points to begin k-means with, far from each other by chance (k-means++), which is the same each time."""
    chance = np.random.default_rng(0)
    chosen = [int(chance.integers(len(reduced)))]
    far = squared_distances(reduced, reduced[chosen[-1:]])[:, 0].astype(np.float64)
    while len(chosen) < _LANDMARKS_MAX and far.sum() > 0:
        chosen.append(int(np.searchsorted(np.cumsum(far), chance.random() * far.sum())))
        far = np.minimum(far, squared_distances(reduced, reduced[chosen[-1:]])[:, 0])
    return reduced[chosen].copy()


def _affinities(distances: NDArray[np.floating], perplexity: float) -> NDArray[np.float64]:
    """Gaussian weights of squared distances (n, m) that add up to 1, each row as wide as to have this perplexity."""
    near = distances.astype(np.float64) - distances.min(1, keepdims=True)
    wanted = np.log(perplexity)
    low, high = np.zeros(len(near)), np.full(len(near), np.inf)
    beta = 1.0 / np.maximum(near.mean(1), _TINY)
    for _ in range(40):
        weights = np.exp(-near * beta[:, None])
        total = weights.sum(1)
        entropy = np.log(total) + beta * (near * weights).sum(1) / total
        wide = entropy > wanted
        low, high = np.where(wide, beta, low), np.where(wide, high, beta)
        beta = np.where(np.isinf(high), beta * 2.0, (low + high) / 2.0)
    weights = np.exp(-near * beta[:, None])
    found: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return found


def _laid_out(landmarks: Floats) -> Floats:
    """The landmarks in the plane, within [-1, 1]."""
    count = len(landmarks)
    start = np.zeros((count, 2))
    start[:, : min(2, landmarks.shape[1])] = landmarks[:, :2]
    spread = start.std() or 1.0
    if count <= 4:  # too few to have neighbourhoods
        return _within(start)
    distances = squared_distances(landmarks, landmarks).astype(np.float64)
    np.fill_diagonal(distances, np.inf)
    finite = np.where(np.isinf(distances), distances[np.isfinite(distances)].max() * 1e6 + 1.0, distances)
    joint = _affinities(finite, max(1.5, min(_PERPLEXITY, (count - 1) / 3)))
    np.fill_diagonal(joint, 0.0)
    joint = np.maximum((joint + joint.T) / (2 * count), _TINY)
    return _within(_descended(joint, start / spread * 1e-2))


def _descended(joint: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """t-SNE's gradient descent, with momentum and a gain for each coordinate. In place: of its time most is memory."""
    attracted, places = joint.astype(np.float32), start.astype(np.float32)
    rate = np.float32(max(len(places) / _EXAGGERATION / 4, 20.0))
    step, gains = np.zeros_like(places), np.ones_like(places)
    near, pull = np.empty_like(attracted), np.empty_like(attracted)
    for number in range(_LAYOUT_ROUNDS):
        exaggerated = number < _EXAGGERATED_ROUNDS
        lengths = (places * places).sum(1)
        np.matmul(places, places.T, out=near)
        near *= -2.0
        near += lengths[:, None] + 1.0
        near += lengths
        np.reciprocal(near, out=near)
        np.fill_diagonal(near, 0.0)
        np.multiply(near, -1.0 / near.sum(dtype=np.float64), out=pull)
        pull += attracted * np.float32(_EXAGGERATION) if exaggerated else attracted
        pull *= near
        gradient = 4.0 * (pull.sum(1)[:, None] * places - pull @ places)
        gains = np.where(np.sign(gradient) == np.sign(step), np.maximum(gains * 0.8, 0.01), gains + 0.2).astype(np.float32)
        step = np.float32(0.5 if exaggerated else 0.8) * step - rate * gains * gradient
        places = places + step
        places -= places.mean(0)
    return places.astype(np.float64)


def _within(places: NDArray[np.float64]) -> Floats:
    centre = (places.max(0) + places.min(0)) / 2
    size = np.abs(places - centre).max()
    found: Floats = ((places - centre) / (size if size > 0 else 1.0)).astype(np.float32)
    return found
