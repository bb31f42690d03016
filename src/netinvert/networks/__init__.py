"""The networks that can be inverted, and how they are loaded."""

from netinvert.networks.catalogue import NetworkCard, list_networks, load_network
from netinvert.networks.network import Network, Preprocessing, weights_sha256
from netinvert.networks.pose import PoseDifference, PoseReading, pose_differences

__all__ = [
    "Network",
    "NetworkCard",
    "PoseDifference",
    "PoseReading",
    "Preprocessing",
    "list_networks",
    "load_network",
    "pose_differences",
    "weights_sha256",
]
