"""Pictures with known cameras, in the formats of the field; all give the same annotations."""

from netinvert.scenes.loaders.annotations import Annotation, AnnotationError, Annotations
from netinvert.scenes.loaders.formats import FORMATS, format_of, load_annotations

__all__ = ["FORMATS", "Annotation", "AnnotationError", "Annotations", "format_of", "load_annotations"]
