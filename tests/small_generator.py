"""A generator with random weights, with the facts of a training."""

from pathlib import Path

import torch

from netinvert.models.generator import GeneratorFile, GeneratorForm, GeneratorNetwork, save_generator
from netinvert.scenes.dataset_config import DatasetConfig


def small_generator(path: Path, objects: int = 4, size: int = 16, known_azimuths: int = 8) -> Path:
    """Written to ``path`` as trainings do, as if trained on the first chairs of seed 0."""
    plan = DatasetConfig(identities=objects, views=62, size=size, protocol="chairs62", lights="studio")
    facts = {
        "plan": {"known_azimuths": known_azimuths, "one_elevation": False, "samples": 8, "seed": 0},
        "data": {"plan": plan.to_json()},
        "objects": list(range(objects)),
        "elevations": [20.0, 30.0],
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = GeneratorNetwork(GeneratorForm(objects, size, embedding=6, hidden=16, first=8))
    save_generator(path, GeneratorFile(module.eval(), facts), half=True)
    return path
