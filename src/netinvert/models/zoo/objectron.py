"""The four Objectron networks: an image crop to the nine keypoints of the object's 3-D box.

Ahmadyan et al., "Objectron", CVPR 2021 (arXiv 2012.09988). The weights come from the published float16 files;
``data/weights/objectron.md`` says how."""

from __future__ import annotations

from torch import Tensor, nn

from netinvert.models.network import Network, Preprocessing
from netinvert.models.weights import apply_weights, built, shipped
from netinvert.models.zoo.blocks import Family, GlobalPool, InvertedResidual
from netinvert.scenes.boxes import read_pose

OBJECTS = ("chair", "camera", "cup", "sneakers")
LAYERS = ("blocks.2", "blocks.7", "blocks.10", "blocks.14", "pool", "keypoints")
LICENCE = "Apache-2.0"
SOURCE = "@mediapipe/objectron 0.4.1675468480"

# (inputs, hidden, outputs, kernel, stride), read off the published graph. The first expansion is 4, not 6.
BLOCKS = (
    (24, 24, 16, 3, 1),
    (16, 64, 24, 3, 2),
    (24, 144, 24, 3, 1),
    (24, 144, 40, 5, 2),
    (40, 240, 40, 5, 1),
    (40, 240, 80, 3, 2),
    (80, 480, 80, 3, 1),
    (80, 480, 80, 3, 1),
    (80, 480, 112, 5, 1),
    (112, 672, 112, 5, 1),
    (112, 672, 112, 5, 1),
    (112, 672, 192, 5, 2),
    (192, 1152, 192, 5, 1),
    (192, 1152, 192, 5, 1),
    (192, 1152, 192, 5, 1),
)


class Objectron(nn.Module):
    """Image (N, 3, 224, 224) in [0, 1] to ``keypoints`` (N, 18) in pixels and ``presence`` (N, 1).

    The keypoints are x, y of the box's centre and then of its corners, with the sign of x changing slowest
    and that of z fastest; in the box, +y is up and +z is the front."""

    def __init__(self) -> None:
        super().__init__()
        family = Family(padding="same")
        self.stem = family.unit((3, 24), 3, stride=2)
        self.blocks = nn.Sequential(*(InvertedResidual(family, shape) for shape in BLOCKS))
        # A block that lost its projection: the pooled features are non-negative.
        self.head = nn.Sequential(family.unit((192, 1152), 1), family.depthwise(1152, 3, 1))
        self.pool = GlobalPool()
        self.keypoints = nn.Linear(1152, 18)
        self.presence = nn.Sequential(nn.Linear(1152, 1), nn.Sigmoid())

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(N, 3, H, W) to the two outputs."""
        pooled = self.pool(self.head(self.blocks(self.stem(image))))
        return {"keypoints": self.keypoints(pooled), "presence": self.presence(pooled)}


def load_objectron(name: str, weights: str | None = None) -> Network:
    """The network ``objectron-chair``, ``-camera``, ``-cup`` or ``-sneakers``. Raises NetworkError: the
    weights do not fit."""
    module = built(Objectron)
    if weights is None:
        with shipped("weights", name) as path:
            apply_weights(module, str(path))
    else:
        apply_weights(module, weights)
    form = Preprocessing((224, 224))
    return Network(name, module.eval(), form, LICENCE, SOURCE, LAYERS, read_pose=read_pose)
