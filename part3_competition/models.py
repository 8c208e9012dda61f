"""The models. Each takes images of shape (n, 1, side, side) and returns logits, (n, classes).

To add one: write a class here, and a file in conf/model that names it.
"""

from torch import Tensor, nn

from workshop.errors import WorkshopError

SIDE = 28  # pixels, of both data sets
CLASSES = 10


def conv(inputs: int, outputs: int, *, halve: bool = False) -> nn.Sequential:
    """Return a 3x3 convolution with batch normalisation and ReLU; `halve` pools the image 2x2."""
    if outputs < 1:
        raise WorkshopError(f"A layer of {outputs} channels. Expected 1 or more: see model.width.")
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)]
    if halve:
        layers.append(nn.MaxPool2d(2))  # first: a quarter of the values is left for the rest
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Baseline(nn.Module):
    """Two convolutions with 2x2 max-pooling and one linear layer: beat it.

    width : the channels of the first convolution; the second one has twice as many
    side, classes : the height and width of an image, and how many classes there are
    """

    def __init__(self, width: int, side: int = SIDE, classes: int = CLASSES):
        super().__init__()
        self.layers = nn.Sequential(
            conv(1, width, halve=True),
            conv(width, 2 * width, halve=True),
            nn.Flatten(),
            nn.Linear(2 * width * (side // 4) ** 2, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


##TODO 3.1## Write an architecture of your own. Keep the name Own, or choose one, which
## conf/model/own.yaml then names. What __init__ takes is up to you; everything else is checked: ten
## logits for every image, every weight trained, and numbers for any image, a blank one included.
class Own(nn.Module):
    def __init__(self, width: int):
        raise NotImplementedError("TODO 3.1: write an architecture")
##END##
