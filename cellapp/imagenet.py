"""Weights of torchvision's ResNets that were trained on ImageNet, fetched only when they are asked for.

This is the one place of the core that downloads. The file's name carries the first eight digits of its sha256, which
the download checks, and it is read with ``weights_only``: nothing in it is executed.
"""

from http.client import HTTPException

from torch import Tensor
from torchvision import models

from cellapp.errors import WeightsError

SOURCES = {
    18: models.ResNet18_Weights.IMAGENET1K_V1,
    34: models.ResNet34_Weights.IMAGENET1K_V1,
    50: models.ResNet50_Weights.IMAGENET1K_V2,
    101: models.ResNet101_Weights.IMAGENET1K_V2,
    152: models.ResNet152_Weights.IMAGENET1K_V2,
}


def imagenet_state(depth: int) -> dict[str, Tensor]:
    """Tensors for ``ResNetCounter(depth)`` by name, all but the last layer, which ImageNet has no use for.

    Complete them with ``network.state_dict() | imagenet_state(depth)``. Torch keeps the file in its own cache
    (``TORCH_HOME``), so it is fetched once. Raises `WeightsError` for an unknown depth and where there is no file to be
    had.
    """
    if depth not in SOURCES:
        raise WeightsError(f"There are no ImageNet weights for a ResNet of depth {depth}; choose one of "
                           f"{', '.join(map(str, SOURCES))}.")
    source = SOURCES[depth]
    try:
        state = source.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    # URLError and time-outs are OSErrors; torch reports a wrong sha256 as a RuntimeError.
    except (OSError, HTTPException, RuntimeError) as error:
        raise WeightsError(f"The ImageNet weights of ResNet-{depth} cannot be fetched from {source.url} ({error}); "
                           "connect to the internet, or leave the choice of ImageNet weights out to train from "
                           "scratch.") from error
    return {f"body.{name}": value for name, value in state.items() if not name.startswith("fc.")}
