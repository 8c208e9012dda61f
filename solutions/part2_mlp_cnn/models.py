"""The models. Each takes images of shape (n, 1, side, side) and returns logits, (n, classes)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from workshop.errors import WorkshopError

SIDE = 28  # pixels, of both data sets
CLASSES = 10


class MLP(nn.Module):
    """Fully connected layers, each but the last followed by ReLU and dropout.

    hidden : the width of each hidden layer; an empty list makes a linear model
    dropout : the share of hidden values set to zero in training
    pixels, classes : how many an image has, and how many there are
    """

    def __init__(
        self,
        hidden: Sequence[int],
        dropout: float = 0.0,
        pixels: int = SIDE * SIDE,
        classes: int = CLASSES,
    ):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        ##TODO 2.3## Append to `layers` a linear layer, a ReLU and a dropout for every width in
        ## `hidden`, then one linear layer. The first one gets `pixels` values, the last one returns
        ## one for each of the `classes`. No softmax at the end: the loss applies it.
        for inputs, outputs in pairwise([pixels, *hidden]):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        layers.append(nn.Linear([pixels, *hidden][-1], classes))
        ##END##
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class CNN(nn.Module):
    """Blocks of convolution, 2x2 max-pooling and ReLU, then dropout and one linear layer.

    channels : the output channels of each block; a block halves height and width
    kernel_size : odd, so that the padding keeps the size of the image
    dropout : the share of features set to zero in training
    side, classes : the height and width of an image, and how many classes there are
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernel_size: int = 3,
        dropout: float = 0.0,
        side: int = SIDE,
        classes: int = CLASSES,
    ):
        super().__init__()
        check_blocks(len(channels), kernel_size, side)
        blocks: list[nn.Module] = []
        ##TODO 2.11## Append to `blocks` a convolution, a 2x2 max-pooling and a ReLU for every entry
        ## of `channels`. The first convolution gets 1 channel; a padding of kernel_size // 2 keeps
        ## height and width, `side` at first, and the pooling halves them, rounded down. Then set
        ## `features`, the number of values left of one image: the channels of the last block times
        ## its height times its width.
        for inputs, outputs in pairwise([1, *channels]):
            convolution = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
            blocks += [convolution, nn.MaxPool2d(2), nn.ReLU()]
        features = channels[-1] * (side // 2 ** len(channels)) ** 2
        ##END##
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(features, classes))
        # Two choices make this fast and change nothing but rounding: ReLU after the pooling, where
        # a quarter of the values is left, and channels last in memory. A step takes 16 ms with
        # both, 41 ms with neither (channels=[64], batches of 64, one thread).
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(images))


def check_blocks(blocks: int, kernel_size: int, side: int) -> None:
    """Refuse a CNN that the image has no room for.

    Raises
    ------
    WorkshopError
        There are no blocks or too many, or the kernel has no middle.
    """
    most = side.bit_length() - 1  # 28, 14, 7, 3, 1
    if not 1 <= blocks <= most:
        raise WorkshopError(
            f"model.channels asks for {blocks} blocks. Expected 1 to {most}: each one halves the "
            f"image, and after {most} of them one pixel is left of {side}."
        )
    if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise WorkshopError(f"model.kernel_size={kernel_size}. Expected an odd number: 1, 3, 5 ...")
