"""FCN: the body of FCRN-A with two outputs a pixel, ground and cell.

Source: Marzo and La Rosa 2016, who give the network of Xie et al. a softmax over two classes.

Readings where the paper leaves a choice:

- "unConv" is upsampling, then a ReLU, then a convolution; upsampling is fixed bilinear, as in FCRN-A.
- Xavier is Glorot and Bengio's uniform initialisation, which counts the inputs and the outputs of a layer;
  biases start at zero.
"""

from torch import nn

from cellapp.networks.fcrn import FCRNA


class FCN(FCRNA):
    """``(B, channels, H, W)`` normalised image -> ``(B, 2, H, W)`` logits (ground, cell), H and W of at least 8.

    1,365,282 parameters for one channel, 1,365,858 for RGB.
    """

    def __init__(self, channels: int = 1):
        super().__init__(channels, outputs=2)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)


__all__ = ["FCN"]
