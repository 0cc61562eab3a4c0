"""Batch normalisation folded into the layer before it: the same answer for counting, one pass over the map less."""

import copy
from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

_FUSE = ((nn.Conv2d, nn.BatchNorm2d, fuse_conv_bn_eval), (nn.Linear, nn.BatchNorm1d, fuse_linear_bn_eval))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy in eval mode with every convolution or linear layer and the batch normalisation after it made one.

    "After it" means registered next in the same module, with as many features, running statistics and a learned
    scale; what is registered so must be called so, as in torchvision's networks and in `nn.Sequential`. An
    `nn.Identity` takes the place of the batch normalisation: names and indices of layers stay, its entries leave the
    state dict, and a convolution gets a bias if it had none.
    """
    folded = copy.deepcopy(network).eval()
    for parent in list(folded.modules()):
        for (name, layer), (norm_name, norm) in pairwise(list(parent.named_children())):
            for layer_type, norm_type, fuse in _FUSE:
                if isinstance(layer, layer_type) and isinstance(norm, norm_type) and _fits(layer, norm):
                    setattr(parent, name, fuse(layer, norm))
                    setattr(parent, norm_name, nn.Identity().eval())
    return folded


def _fits(layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d) -> bool:
    features = layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features
    return norm.running_var is not None and norm.affine and norm.num_features == features
