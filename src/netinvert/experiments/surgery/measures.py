"""What is done to the codes of a layer, and what is measured of the codes and the images that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from netinvert.evaluation.metrics import ssim
from netinvert.evaluation.probes import ridge
from netinvert.evaluation.readers import RIGHT, PoseReader
from netinvert.experiments.attribute_measures import found_alpha, object_colour
from netinvert.experiments.held_out_chairs import FreshChairs, chair_errors
from netinvert.experiments.invert import run_told
from netinvert.experiments.surgery.subspaces import (
    CARRIERS,
    HARMONICS,
    PRINCIPAL,
    RANDOM,
    ROTATION_HEAD,
    Subspace,
    control_of,
    outputs_of,
)
from netinvert.inversion.invert import prepare
from netinvert.inversion.presets.by_name import recipe
from netinvert.io.cells import Piece
from netinvert.io.images import fit
from netinvert.models.decoder import Decoder
from netinvert.models.encoder import Encoder
from netinvert.scenes.cameras import azimuth_difference, geodesic_degrees
from netinvert.training.decoder.train import in_chunks

CODE, DECODE, OPTIMISE = "code", "decode", "optimise"
"""What is measured: the code itself, or the image that a decoder or an optimisation makes of it."""
ORIGINAL, UNTOUCHED, MEAN_CODE = "the original", "as it is", "the mean code"
REMOVED, KEPT, SWAPPED = "removed", "kept alone", "swapped"
PLAIN = (ORIGINAL, UNTOUCHED, MEAN_CODE)
"""Edits that need no subspace: the ceiling, what edits are held against, and the floor."""
ANSWERED = (HARMONICS, ROTATION_HEAD)
"""The carriers that are swapped and optimised, too; the first is the answer."""
DONOR = "donor: "
"""Before the name of a measure that is against the chair whose part was put in."""
FROM_CODE, PROBE = "own reading of the code", "fresh probe"


@dataclass(frozen=True)
class SurgeryKey:
    """A cell: a decoder by name or file, what is measured, what was done to the code, and to which part of
    it; ``random``: to codes of the decoder's network with random weights."""

    decoder: str
    method: str
    edit: str
    subspace: str = ""
    random: bool = False


def keys_of(decoder: str, names: Sequence[str], optimise: bool) -> list[SurgeryKey]:
    """All cells of a decoder whose layer has subspaces of these names."""
    swapped = [one for one in ANSWERED if one in names]
    swapped += [control_of(one, kind) for one in swapped for kind in (RANDOM, PRINCIPAL)]
    both = [(edit, name) for name in names for edit in (REMOVED, KEPT)]
    swaps = [(SWAPPED, name) for name in swapped]
    found = [SurgeryKey(decoder, CODE, edit, name) for edit, name in [(UNTOUCHED, ""), *both]]
    found += [
        SurgeryKey(decoder, DECODE, edit, name)
        for edit, name in [*((one, "") for one in PLAIN), *both, *swaps]
    ]
    if optimise:
        chosen = (HARMONICS, control_of(HARMONICS, RANDOM), ROTATION_HEAD)
        some = [one for one in [*both, *swaps] if one[1] in chosen]
        found += [SurgeryKey(decoder, OPTIMISE, edit, name) for edit, name in [(UNTOUCHED, ""), *some]]
    return found


def random_keys(decoder: str, names: Sequence[str]) -> list[SurgeryKey]:
    """The cells of codes of random weights: what carries the pose there, and how much of it."""
    known = [one for one in CARRIERS if one in names]
    both = [(edit, name) for name in known for edit in (REMOVED, KEPT)]
    return [SurgeryKey(decoder, CODE, edit, name, True) for edit, name in [(UNTOUCHED, ""), *both]]


def donors_of(azimuth: Tensor) -> Tensor:
    """For each of N chairs the place (N,) of another, a third of all chairs further round: far enough to tell
    their azimuths apart, and not from behind, which readers take for the front."""
    order = azimuth.argsort(stable=True)
    found = torch.empty_like(order)
    found[order] = order.roll(-max(1, len(order) // 3))
    return found


@dataclass(frozen=True, eq=False)
class LayerCodes:
    """The ``subspaces`` of a layer by name, and what fresh probes are fitted on: ``codes`` (M, D) of still
    other views, with their ``targets`` (M, 3), as of ``pose_targets``."""

    subspaces: Mapping[str, Subspace]
    codes: Tensor
    targets: Tensor

    def edited(self, key: SurgeryKey, codes: Tensor, donors: Tensor) -> Tensor:
        """Codes (N, D) after what the key says; ``donors`` (N, D) are those whose part is put in."""
        if key.edit in (ORIGINAL, UNTOUCHED):
            return codes
        if key.edit == MEAN_CODE:
            return next(iter(self.subspaces.values())).mean.expand_as(codes)
        one = self.subspaces[key.subspace]
        if key.edit == SWAPPED:
            return one.swapped(codes, donors)
        return one.removed(codes) if key.edit == REMOVED else one.kept(codes)

    def probed(self, key: SurgeryKey, codes: Tensor) -> Tensor:
        """The azimuths (N,) in degrees that a linear probe reads from edited codes (N, D), fitted on other
        codes to which the same was done."""
        known = self.edited(key, self.codes, self.codes)
        read = ridge(known.double(), self.targets.double(), codes.double())
        return torch.rad2deg(torch.atan2(read[:, 0], read[:, 1]))


@dataclass(frozen=True, eq=False)
class Patients:
    """N held-out chairs with one front each, and the mean images (N, 3, H, W) of other chairs in their
    poses, ``posed``."""

    chairs: FreshChairs
    posed: Tensor

    @cached_property
    def donors(self) -> Tensor:
        """As of ``donors_of``."""
        return donors_of(self.chairs.azimuth)

    @cached_property
    def colours(self) -> Tensor:
        """The chairs' true mean colours (N, 3)."""
        return object_colour(self.chairs.images, self.chairs.rgba[:, 3:])

    def of_codes(self, layer: LayerCodes, key: SurgeryKey, encoder: Encoder) -> dict[str, Tensor]:
        """Of each chair's edited code (N,): the error of the pose that the network's own heads read from it,
        and of the azimuth that a fresh probe reads, in degrees."""
        codes = self.codes(layer, key, encoder)
        found = {PROBE: azimuth_difference(layer.probed(key, codes), self.chairs.azimuth)}
        read = encoder.network.read_pose
        if read is not None:
            with torch.no_grad():
                found[FROM_CODE] = geodesic_degrees(
                    read(outputs_of(encoder, codes)).rotation, self.chairs.rotation
                )
        return found

    def codes(self, layer: LayerCodes, key: SurgeryKey, encoder: Encoder) -> Tensor:
        """Of the chairs, after what the key says."""
        with torch.no_grad():
            own = in_chunks(encoder, self.chairs.images)
        return layer.edited(key, own, own[self.donors])

    def asked(self, readers: Sequence[PoseReader]) -> list[tuple[PoseReader, Tensor]]:
        """Each reader, and the chairs (N,) that it is asked about."""
        found = []
        for reader in readers:
            known = torch.ones(len(self.chairs.images), dtype=torch.bool)
            if reader.limited:
                known = geodesic_degrees(reader(self.chairs.images), self.chairs.rotation) < RIGHT
            found.append((reader, known))
        return found

    def of_images(
        self, images: Tensor, key: SurgeryKey, asked: Sequence[tuple[PoseReader, Tensor]]
    ) -> dict[str, Tensor]:
        """Of each chair's image (N,): errors of the poses that are read from it, in degrees, NaN where a
        reader is not asked; its distance from the original and from the mean chair in that pose, in the
        pixels of the chair, over that of other originals; SSIM to both; and how far the mean colour of what
        differs from the background is from the chair's true one, in units of the range of a channel. After
        a swap also against the donor's."""
        chairs = self.chairs
        originals = chairs.images
        images = fit(images, (originals.shape[2], originals.shape[3]))
        colour = object_colour(images, found_alpha(images))
        found = {
            "on_chair": chair_errors(images, originals, chairs.masks),
            "on_mean": chair_errors(images - self.posed + originals, originals, chairs.masks),
            "ssim": ssim(images, originals),
            "ssim_mean": ssim(images, self.posed),
            "colour": (colour - self.colours).norm(dim=1),
        }
        if key.edit == SWAPPED:
            found[f"{DONOR}colour"] = (colour - self.colours[self.donors]).norm(dim=1)
        swapped = key.edit == SWAPPED
        for reader, known in asked:
            able = (known & known[self.donors] if swapped else known).nonzero().squeeze(1)
            read = reader(images[able]) if len(able) else chairs.rotation[:0]
            truths = {"": able, DONOR: self.donors[able]} if swapped else {"": able}
            for how, rows in truths.items():
                errors = torch.full((len(images),), torch.nan)
                errors[able] = geodesic_degrees(read, chairs.rotation[rows])
                found[f"{how}{reader.name}"] = errors
        return {name: values.double() for name, values in found.items()}


def reconstructed(
    codes: Tensor, encoder: Encoder, decoder: Decoder | None, steps: int, piece: Piece
) -> Tensor:
    """Images (N, 3, H, W) of codes: a decoder's, or, without one, of so many steps of the preset quick."""
    if decoder is not None:
        with torch.no_grad():
            return in_chunks(decoder, codes)
    how = recipe("quick", encoder).with_steps(steps)
    return run_told(prepare(encoder, codes, how), range(len(codes)), piece.tell).image
