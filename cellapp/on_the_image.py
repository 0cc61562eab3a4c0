"""From what a network reads at its own scale to a prediction on the grid of the image."""

from dataclasses import replace

import numpy as np

from cellapp.conformal import LEVEL
from cellapp.density import resize_map
from cellapp.family import Reading
from cellapp.prediction import Interval, Prediction
from cellapp.scale import resize_labels, resize_view

WITHIN = 1.959964                                            # standard deviations of a Gaussian that hold 95 %


def on_the_image(reading: Reading, shape: tuple[int, int]) -> Prediction:
    """A reading at the scale of the weights, brought to the grid of the image as it was read; the count stays."""
    read = (reading.density if reading.density is not None else reading.labels).shape
    points, density, labels, views = reading.points, reading.density, reading.labels, dict(reading.views)
    if read != shape:
        ratio = np.array(shape) / read                       # 1 / factor, but for the rounding to whole pixels
        if points is not None:
            points = np.clip((points + 0.5) * ratio - 0.5, 0, np.array(shape) - 1.0)
        density = None if density is None else resize_map(density, shape)
        labels = None if labels is None else resize_labels(labels, points, shape)
        views = {name: resize_view(view, read, shape) for name, view in views.items()}
    if labels is not None:
        return Prediction.from_labels(labels, points, views=views)
    prediction = Prediction.from_density(density, points, views=views)
    if reading.sd is None:
        return prediction
    low, high = prediction.count - WITHIN * reading.sd, prediction.count + WITHIN * reading.sd
    return replace(prediction, sd=reading.sd, interval=Interval(max(0.0, low), max(0.0, high), LEVEL, "aleatoric"))
