"""Decoders: networks that turn a code into an image, by name."""

from netinvert.decoders.decoder import Decoder
from netinvert.decoders.files import SHIPPED, load_autoencoder, load_decoder, read_decoder, save_decoder

__all__ = ["SHIPPED", "Decoder", "load_autoencoder", "load_decoder", "read_decoder", "save_decoder"]
