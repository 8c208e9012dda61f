"""New images from old ones: a whole batch at once, as operations on its tensor."""

import torch
from torch import Tensor


class Augmentation:
    """Change every image of a batch in a way of its own that leaves its class as it is.

    flip : whether to mirror each image with probability 1/2
    shift : the largest distance in pixels by which an image is moved, in both directions
    """

    def __init__(self, flip: bool, shift: int):
        self.flip, self.shift = flip, shift

    def __call__(self, images: Tensor) -> Tensor:
        """Return changed copies of images of shape (n, 1, height, width)."""
        if self.flip:
            images = flip(images)
        if self.shift:
            images = shift(images, self.shift)
        return images


def flip(images: Tensor) -> Tensor:
    """Mirror about half of the images, left to right."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


def shift(images: Tensor, most: int) -> Tensor:
    """Move every image by up to `most` pixels down or up and right or left."""
    n, _, height, width = images.shape
    ##TODO 3.3## Draw `down` and `right` for every image, whole numbers from -most to most, on the
    ## images' device. Return the images moved by them, of the same shape; what moves in from
    ## outside repeats the pixels at the edge. No loop over the images: it would cost more time
    ## than the training.
    down, right = torch.randint(-most, most + 1, (2, n, 1), device=images.device)
    rows = (torch.arange(height, device=images.device) - down).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) - right).clamp(0, width - 1)
    each = torch.arange(n, device=images.device)
    return images[each[:, None, None], 0, rows[:, :, None], columns[:, None, :]].unsqueeze(1)
    ##END##
