"""The table of all commands, and what performs one: the command line, the studio and ``rerun`` go by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from netinvert.errors import ConfigError
from netinvert.io.config import Config, imported
from netinvert.io.manifest import Outcome

Tell = Callable[[str], None]
SECTIONS = ("Look", "Invert", "Decode", "Understand", "Train", "Data", "Repeat")
"""The headings of commands in the help, in the order in which a newcomer wants them."""
GROUPS = {
    "study": ("Understand", "Experiments on what codes keep."),
    "decoder": ("Train", "Train decoders from codes to images, and evaluate them."),
    "pose": ("Train", "Train networks that read 3-D pose, and evaluate them."),
    "scenes": ("Data", "Render objects with known cameras, and look at them."),
}
"""Commands of two words, by the first: the section, and a line of help."""


@dataclass(frozen=True)
class Command:
    """``config`` and ``run`` are import paths, ``package.module:NAME``, of the config's class, which must not
    import torch, and of a function (config, tell) → Outcome; ``tell`` says a line to the user.
    """

    config: str
    run: str
    section: str
    example: str

    def load(self) -> type[Config]:
        """The config's class."""
        cls: type[Config] = imported(self.config)
        return cls


_CONFIGS = "netinvert.experiments.configs"
COMMANDS: dict[str, Command] = {
    "demo": Command(
        f"{_CONFIGS}.demo:Demo",
        "netinvert.experiments.demo:run_demo",
        "Look",
        "netinvert demo --out out/demo",
    ),
    "networks": Command(
        f"{_CONFIGS}.listings:Networks",
        "netinvert.experiments.listings:list_all_networks",
        "Look",
        "netinvert networks",
    ),
    "layers": Command(
        f"{_CONFIGS}.listings:Layers",
        "netinvert.experiments.listings:list_layers_of",
        "Look",
        "netinvert layers mobilenet-v2",
    ),
    "invert": Command(
        f"{_CONFIGS}.invert:Invert",
        "netinvert.experiments.invert:run_invert",
        "Invert",
        "netinvert invert photo.jpg --network mobilenet-v2 --layer blocks.9 --out out/photo",
    ),
    "decode": Command(
        f"{_CONFIGS}.decode:Decode",
        "netinvert.experiments.decode:run_decode",
        "Decode",
        "netinvert decode chairs/ --decoder posenet-fc7 --out out/decoded",
    ),
    "encode": Command(
        f"{_CONFIGS}.encode:Encode",
        "netinvert.experiments.encode:run_encode",
        "Decode",
        "netinvert encode photos/ --network mobilenet-v2 --layer blocks.9 --out codes.safetensors",
    ),
    "maximise": Command(
        f"{_CONFIGS}.maximise:Maximise",
        "netinvert.experiments.maximise:run_maximise",
        "Invert",
        "netinvert maximise --network efficientnet-lite0 --layer logits --class flamingo --out out/flamingo",
    ),
    "caricature": Command(
        f"{_CONFIGS}.maximise:CaricatureConfig",
        "netinvert.experiments.maximise:run_maximise",
        "Invert",
        "netinvert caricature photo.jpg --network mobilenet-v2 --layer blocks.9 --out out/caricature",
    ),
    "sweep": Command(
        f"{_CONFIGS}.sweep:Sweep",
        "netinvert.experiments.sweep_report:run_sweep",
        "Understand",
        "netinvert sweep photos/ --network mobilenet-v2 --layers blocks.9 --priors tv-isotropic none "
        "--prior-weights 0.03 0.3 3 --canvases fourier pixels --out out/sweep",
    ),
    "look": Command(
        f"{_CONFIGS}.look:Look",
        "netinvert.experiments.look:run_look",
        "Look",
        "netinvert look photo.jpg --network mobilenet-v2 --out out/look",
    ),
    "audit": Command(
        f"{_CONFIGS}.audit:Audit",
        "netinvert.experiments.audit_report:run_audit",
        "Understand",
        "netinvert audit codes.npy --network mobilenet-v2 --layer pool --images photos/ --judge-network "
        "efficientnet-lite0 --judge-layer pool --attributes people.csv --out out/audit",
    ),
    "deepvis": Command(
        f"{_CONFIGS}.deepvis:Deepvis",
        "netinvert.experiments.deepvis:run_deepvis",
        "Understand",
        "netinvert deepvis --network efficientnet-lite0 --layer logits --channel 130 --draws 100 "
        "--out out/deepvis",
    ),
    "study layers": Command(
        f"{_CONFIGS}.study_layers:StudyLayers",
        "netinvert.experiments.layers:run_layers",
        "Understand",
        "netinvert study layers --network efficientnet-lite0 --protocol ijcv16 --restarts 2 --out out/layers",
    ),
    "study attributes": Command(
        f"{_CONFIGS}.study_attributes:StudyAttributes",
        "netinvert.experiments.attributes:study_attributes",
        "Understand",
        "netinvert study attributes --network posenet --decoders posenet-fc6 --chairs 50 "
        "--out out/attributes",
    ),
    "study methods": Command(
        f"{_CONFIGS}.study_methods:StudyMethods",
        "netinvert.experiments.methods:study_methods",
        "Understand",
        "netinvert study methods --decoders posenet-fc6 --chairs 8 --out out/methods",
    ),
    "study perturb": Command(
        f"{_CONFIGS}.study_codes:StudyPerturb",
        "netinvert.experiments.codes.study:study_codes",
        "Understand",
        "netinvert study perturb --decoders posenet-fc6 posenet-pose --chairs 20 --out out/perturb",
    ),
    "study interpolate": Command(
        f"{_CONFIGS}.study_codes:StudyInterpolate",
        "netinvert.experiments.codes.study:study_codes",
        "Understand",
        "netinvert study interpolate --decoders posenet-fc6 posenet-pose --chairs 20 --out out/interpolate",
    ),
    "study random": Command(
        f"{_CONFIGS}.study_codes:StudyRandom",
        "netinvert.experiments.codes.study:study_codes",
        "Understand",
        "netinvert study random --decoders posenet-fc6 posenet-pose --chairs 20 --out out/random",
    ),
    "study iterate": Command(
        f"{_CONFIGS}.study_codes:StudyIterate",
        "netinvert.experiments.codes.study:study_codes",
        "Understand",
        "netinvert study iterate --decoders posenet-fc6 posenet-pose --chairs 20 --out out/iterate",
    ),
    "decoder evaluate": Command(
        f"{_CONFIGS}.evaluations:DecoderEvaluate",
        "netinvert.experiments.evaluate_decoder:evaluate_decoder",
        "Train",
        "netinvert decoder evaluate posenet-fc6 --chairs 50 --out out/posenet-fc6",
    ),
    "pose evaluate": Command(
        f"{_CONFIGS}.evaluations:PoseEvaluate",
        "netinvert.experiments.evaluate_pose:evaluate_pose",
        "Train",
        "netinvert pose evaluate --network posenet --chairs 20 --out out/posenet",
    ),
    "pose train": Command(
        f"{_CONFIGS}.train:PoseTrain",
        "netinvert.experiments.train:train_pose_network",
        "Train",
        "netinvert pose train --data data --network posenet --out out/posenet",
    ),
    "decoder train": Command(
        f"{_CONFIGS}.train:DecoderTrain",
        "netinvert.experiments.train:train_a_decoder",
        "Train",
        "netinvert decoder train --network mobilenet-v2 --layer pool --data photos --pixels 64 "
        "--out out/decoder",
    ),
    "scenes render": Command(
        f"{_CONFIGS}.scenes:ScenesRender",
        "netinvert.experiments.scenes:render_scenes",
        "Data",
        "netinvert scenes render --objects chairs --count 100 --views 20 --out data",
    ),
    "scenes show": Command(
        f"{_CONFIGS}.scenes:ScenesShow",
        "netinvert.experiments.scenes:show_scenes",
        "Data",
        "netinvert scenes show data --out out/scenes",
    ),
    "rerun": Command(
        f"{_CONFIGS}.rerun:Rerun",
        "netinvert.experiments.rerun:run_rerun",
        "Repeat",
        "netinvert rerun out/photo --out out/again",
    ),
}


def config_class(name: object) -> type[Config]:
    """The config of a command by its name. Raises ConfigError."""
    if not isinstance(name, str) or name not in COMMANDS:
        raise ConfigError(f"there is no command '{name}'; 'netinvert --help' lists them")
    return COMMANDS[name].load()


def perform(config: Config, tell: Tell = lambda text: None) -> Outcome:
    """Run the config's command. Raises NetinvertError."""
    from netinvert.io.running import torch_threads

    run = imported(COMMANDS[config.command].run)
    with torch_threads(getattr(config, "threads", None)):
        outcome: Outcome = run(config, tell)
    return outcome
