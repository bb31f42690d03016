"""What the faces of mesh files look like: materials, textures, colours. Those of OBJ and PLY files are sRGB;
in glTF, numbers are linear and textures are sRGB."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from netinvert.errors import ImageError
from netinvert.io.images import as_images, decoded, to_pil
from netinvert.scenes.objects import Array, Material, MeshError, linear_to_srgb, srgb_to_linear

TEXTURE = 512
"""The greatest side of a texture in pixels; images of objects are small."""
GREY, WHITE = (0.4, 0.4, 0.4), (1.0, 1.0, 1.0)
MOST_COLOURS = 64
SHOWN = ("image", "baseColorTexture")
"""Of a trimesh material, the images that we show."""
IMAGES = (*SHOWN, "emissiveTexture", "normalTexture", "occlusionTexture", "metallicRoughnessTexture")


@dataclass(frozen=True, eq=False)
class Surface:
    """``materials``, which of them each face wears ``material`` (F,), texture coordinates ``uv`` (F, 3, 2),
    and the names of textures that are ``missing``."""

    materials: list[Material]
    material: NDArray[np.int64]
    uv: NDArray[np.float64]
    missing: frozenset[str] = frozenset()


def surface_of(mesh: Any) -> Surface:  # noqa: ANN401  (trimesh is not typed)
    """The surface of a trimesh mesh whose colours are sRGB; grey where the file says nothing."""
    count = len(mesh.faces)
    zeros = np.zeros((count, 3, 2))
    visual = mesh.visual
    if visual.kind == "texture":
        return _textured(mesh)
    if visual.kind in ("face", "vertex"):
        colours = (
            visual.face_colors if visual.kind == "face" else visual.vertex_colors[mesh.faces].mean(axis=1)
        )
        shades, index = _palette(np.asarray(colours)[:, :3].astype(np.uint8))
        materials = [Material("coloured", tuple(srgb_to_linear(shade / 255).tolist())) for shade in shades]
        return Surface(materials, index, zeros)
    return Surface([Material("plain", GREY)], np.zeros(count, np.int64), zeros)


def _textured(mesh: Any) -> Surface:  # noqa: ANN401
    material = mesh.visual.material
    count = len(mesh.faces)
    uv, image = mesh.visual.uv, getattr(material, "image", None)
    diffuse = getattr(material, "diffuse", None)
    colour = GREY if diffuse is None else tuple(srgb_to_linear(_bytes(diffuse)[:3] / 255).tolist())
    kind = str(getattr(material, "name", None) or "material")
    if image is None or uv is None:
        missing = frozenset({f"the coordinates of the texture of {kind}"} if image is not None else ())
        return Surface([Material(kind, colour)], np.zeros(count, np.int64), np.zeros((count, 3, 2)), missing)
    # Images count rows from above, texture coordinates from below.
    coordinates = np.nan_to_num(np.asarray(uv)[mesh.faces] * (1, -1) + (0, 1))
    return Surface([Material(kind, WHITE, _texture(image))], np.zeros(count, np.int64), coordinates)


def _bytes(colour: Any) -> NDArray[np.float64]:  # noqa: ANN401
    """A colour as 0 to 255, whether the file has floats or bytes."""
    values = np.asarray(colour)
    return values * 255.0 if values.dtype.kind == "f" and values.max() <= 1 else values.astype(float)


def decode_textures(mesh: Any) -> set[str]:  # noqa: ANN401
    """Decode the images that a trimesh mesh has opened and we show, at most TEXTURE pixels long, and drop all
    others: its copies would decode them. Gives the names of materials whose image cannot be read; it is left
    out.

    Colour profiles do not count: glTF 2.0 has them ignored (its section on images)."""
    material, missing = getattr(mesh.visual, "material", None), set[str]()
    for name in IMAGES:
        image = getattr(material, name, None)
        if not isinstance(image, Image.Image):
            continue
        shown = None
        if name in SHOWN:
            try:
                shown = _reduced(decoded(image, "texture"))
            except ImageError:
                missing.add(str(getattr(material, "name", None) or "material"))
        setattr(material, name, shown)
    return missing


def _reduced(image: Image.Image) -> Image.Image:
    # Of 16 bits, Pillow's conversion takes the lower eight.
    image = to_pil(as_images(image, 3)) if image.mode.startswith("I") else image.convert("RGB")
    if max(image.size) <= TEXTURE:
        return image
    scale = TEXTURE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BOX)


def _texture(image: Image.Image) -> Array:
    return np.asarray(srgb_to_linear(np.asarray(image) / 255), np.float32)


def _palette(colours: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """At most MOST_COLOURS shades of 0 to 255, and the nearest of them for each face; exact where there are
    no more."""
    shades, index = np.unique(colours, axis=0, return_inverse=True)
    step = 8
    while len(shades) > MOST_COLOURS:
        shades, index = np.unique(colours // step * step + step // 2, axis=0, return_inverse=True)
        step *= 2
    return shades, index.ravel().astype(np.int64)


OWN = {"_UV": "TEXCOORD", "_COLOR": "COLOR_0"}
"""Attributes of glTF meshes that trimesh hands on as they are, and of what they are copies."""
GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
TRANSFORM = "KHR_texture_transform"
READ = {GLOSSINESS, TRANSFORM, "EXT_texture_webp", "KHR_materials_unlit", "KHR_draco_mesh_compression"}
PACKED = {"EXT_meshopt_compression", *(() if find_spec("DracoPy") else ("KHR_draco_mesh_compression",))}


MOST_CORNERS = 20_000_000


class Gltf:
    """The header of a glTF file, which says more of its looks than trimesh takes from it: numbers of full
    precision, colours beside a material, other texture coordinates and their transforms.

    ``content`` is the file such that trimesh hands on what ``surface_of`` needs. Raises MeshError: geometry
    that is packed in a way that cannot be read."""

    def __init__(self, content: bytes) -> None:
        packed = content[:4] == b"glTF"
        end = 20 + int.from_bytes(content[12:16], "little")
        self.header: dict[str, Any] = json.loads(content[20:end] if packed else content)
        if any(not 0 <= one["count"] <= MOST_CORNERS for one in self.header.get("accessors", ())):
            raise MeshError(f"it says that it has more than {MOST_CORNERS:,} corners: simplify it")
        used = set(self.header.get("extensionsUsed", ()))
        if wrong := PACKED & used:
            raise MeshError(f"its geometry is packed ({', '.join(sorted(wrong))}): export it without")
        self.unread = used - READ
        own = copy.deepcopy(self.header)
        for number, material in enumerate(own.get("materials", ())):
            material["name"] = str(number)
        for part in (part for mesh in own.get("meshes", ()) for part in mesh["primitives"]):
            attributes = part["attributes"]
            texture = self._colour(part["material"])[1] if "material" in part else {}
            sources = {"_UV": f"TEXCOORD_{_transform(texture).get('texCoord', texture.get('texCoord', 0))}"}
            sources["_COLOR"] = "COLOR_0"
            attributes |= {name: attributes[one] for name, one in sources.items() if one in attributes}
            self.unread |= {"morph targets"} if part.get("targets") else set()
            self.unread |= set() if part.get("mode", 4) in (4, 5) else {"points, lines or triangle fans"}
        if any("sparse" in accessor for accessor in self.header.get("accessors", ())):
            self.unread.add("sparse accessors")
        text = json.dumps(own).encode()
        if packed:
            text += b" " * (-len(text) % 4)
            sizes = [(20 + len(text) + len(content) - end), len(text)]
            total, length = (size.to_bytes(4, "little") for size in sizes)
            text = content[:8] + total + length + content[16:20] + text + content[end:]
        self.content = text

    def _colour(self, number: int) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """The linear colour of a material and what is said of its texture."""
        material = self.header["materials"][number]
        plain = material.get("pbrMetallicRoughness", {})
        other = material.get("extensions", {}).get(GLOSSINESS, {})
        factor = plain.get("baseColorFactor") or other.get("diffuseFactor") or WHITE
        return np.array(factor[:3], float), plain.get("baseColorTexture") or other.get("diffuseTexture") or {}

    def surface_of(self, mesh: Any) -> Surface:  # noqa: ANN401
        """The surface of a mesh of the file, as trimesh read it from ``content``."""
        uv, colours = (mesh.vertex_attributes.get(name) for name in OWN)
        factor, kind, image = np.array(GREY if colours is None else WHITE), "plain", None
        texture: Mapping[str, Any] = {}
        if mesh.visual.kind == "texture":
            number = int(mesh.visual.material.name)
            factor, texture = self._colour(number)
            kind = str(self.header["materials"][number].get("name") or "material")
            image = mesh.visual.material.baseColorTexture
        coordinates, missing = np.zeros((len(mesh.faces), 3, 2)), frozenset[str]()
        if image is not None and uv is not None:
            coordinates = np.nan_to_num(_transformed(_share(uv), _transform(texture))[mesh.faces])
        elif texture:
            name = self._name(texture) if image is None else f"the coordinates of the texture of {kind}"
            missing = frozenset({name})
            image = None
        shades, index = np.full((1, 3), 255.0), np.zeros(len(mesh.faces), np.int64)
        if colours is not None:
            mean = linear_to_srgb(_share(colours)[mesh.faces].mean(axis=1)[:, :3])
            shades, index = _palette((255 * mean).round(2))
        pixels = None if image is None else _texture(image)
        tints = (factor * srgb_to_linear(shades / 255)).tolist()
        return Surface([Material(kind, tuple(tint), pixels) for tint in tints], index, coordinates, missing)

    def _name(self, texture: Mapping[str, Any]) -> str:
        """The file of a texture, or what else tells it from others."""
        number = self.header["textures"][texture["index"]].get("source")
        name = str(self.header["images"][number].get("uri", "data:")) if number is not None else "data:"
        return f"texture {texture['index']}" if name.startswith("data:") else name


def _transform(texture: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = texture.get("extensions", {}).get(TRANSFORM, {})
    return found


def _transformed(uv: NDArray[Any], transform: Mapping[str, Any]) -> NDArray[Any]:
    """Texture coordinates, v down, turned counter-clockwise as one looks at them."""
    angle = transform.get("rotation", 0.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.asarray((uv * transform.get("scale", (1, 1))) @ turn.T + transform.get("offset", (0, 0)))


def _share(values: NDArray[Any]) -> NDArray[np.float64]:
    """Numbers of an accessor; integers stand for shares of the greatest."""
    return values / np.iinfo(values.dtype).max if values.dtype.kind == "u" else values.astype(float)
