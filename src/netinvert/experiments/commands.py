"""The table of all commands, and what performs one: the command line, the studio and ``rerun`` go by it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from netinvert.errors import ConfigError, NetinvertError, NetworkError, OutputError
from netinvert.io.config import COMMAND, PROGRAM, Config, fields_of, imported
from netinvert.io.files import (
    Tell,
    inside,
    output_error,
    read_json,
    refusing,
    sha256_of,
    write_json,
)
from netinvert.io.folders import make_directory, remove_half_written
from netinvert.io.manifest import MANIFEST, Outcome, compare
from netinvert.io.pieces import OfNetwork, Output
from netinvert.io.rundir import FinishedError

if TYPE_CHECKING:
    from netinvert.experiments.configs.images import Rerun

C = TypeVar("C", bound=Config)
RERUN = "rerun"
"""In the manifest of a rerun: how its files compare with the first run's."""
SECTIONS = ("Look", "Invert", "Decode", "Understand", "Train", "Data", "Repeat")
"""The headings of commands in the help, in the order in which a newcomer wants them."""
GROUPS = {
    "explain": ("Understand", "Where a network's answers come from."),
    "study": ("Understand", "Experiments on what codes keep."),
    "decoder": ("Train", "Train decoders from codes to images, and evaluate them."),
    "pose": ("Train", "Read 3-D pose from images; train networks that do, and evaluate them."),
    "views": ("Train", "Draw objects from their number and a view; new views of an object in an image."),
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


_TABLE = """
Look | demo | looks:Demo | demo:run_demo
    --out out/demo
Look | networks | images:Networks | listings:list_all_networks
Look | studio | studio:Studio | netinvert.studio.serve:run_studio
    --port 8080
Look | layers | images:Layers | listings:list_layers_of
    posenet
Invert | invert | images:Invert | invert:run_invert
    sample:chelsea --network objectron-chair --layer blocks.7 --out out/photo
Decode | decode | images:Decode | decode:run_decode
    sample:chair --decoder posenet-fc7 --out out/decoded
Decode | encode | images:Encode | decode:run_encode
    photos/ --network posenet --layer relu5 --out codes.safetensors
Invert | maximise | images:Maximise | maximise:run_maximise
    --network efficientnet-lite0 --layer logits --class flamingo --out out/flamingo
Invert | caricature | images:CaricatureConfig | maximise:run_maximise
    sample:chelsea --network objectron-chair --layer blocks.7 --out out/caricature
Understand | sweep | looks:Sweep | sweep_report:run_sweep
    photos/ --network mobilenet-v2 --layers blocks.9 --priors tv-isotropic none --prior-weights 0.03 0.3 3
    --canvases fourier pixels --out out/sweep
Look | look | looks:Look | look:run_look
    sample:chelsea --network posenet --out out/look
Understand | audit | looks:Audit | audit_report:run_audit
    codes.npy --network mobilenet-v2 --layer pool --images photos/ --judge-network efficientnet-lite0
    --judge-layer pool --attributes people.csv --out out/audit
Understand | deepvis | looks:Deepvis | deepvis:run_deepvis
    --network efficientnet-lite0 --layer logits --channel 130 --draws 100 --out out/deepvis
Understand | explain saliency | explain:ExplainSaliency | explain.saliency:run_saliency
    sample:chair --network posenet --targets pose pose:geodesic --out out/saliency
Understand | explain sanity | explain:ExplainSanity | explain.sanity:run_sanity
    chairs --network posenet --targets pose pose:geodesic --out out/sanity
Understand | explain deconv | explain:ExplainDeconv | explain.deconv:run_deconv
    sample:chair --network posenet --layer relu3 --out out/deconv
Understand | explain occlusion | explain:ExplainOcclusion | explain.occlusion:run_occlusion
    sample:chair --network posenet --target pose:geodesic --out out/occlusion
Understand | explain top | explain:ExplainTop | explain.top:run_top
    photos/ --network mobilenet-v2 --layer blocks.9 --out out/top
Understand | explain parts | explain:ExplainParts | explain.parts:run_parts
    --network posenet --targets pose:geodesic --chairs 20 --out out/parts
Understand | explain locate | explain:ExplainLocate | explain.locate:run_locate
    --network posenet --out out/locate
Understand | explain correspond | explain:ExplainCorrespond | explain.codes:run_correspond
    --network posenet --layers relu3 relu5 relu7 --out out/correspond
Understand | explain invariance | explain:ExplainInvariance | explain.codes:run_invariance
    chairs --network posenet --layers relu1 relu5 relu7 --out out/invariance
Understand | explain paths | explain:ExplainPaths | explain.codes:run_paths
    out/inverted --natural photos/ --network mobilenet-v2 --layers blocks.5 blocks.9 pool --out out/paths
Understand | explain evolve | explain:ExplainEvolve | explain.deconv:run_evolve
    chairs --network posenet --layer relu3 --channel 8 68 --checkpoints random early.pt --out out/evolve
Understand | study layers | studies:StudyLayers | layers:run_layers
    --network efficientnet-lite0 --protocol ijcv16 --restarts 2 --out out/layers
Understand | study attributes | studies:StudyAttributes | attributes:study_attributes
    --network posenet --decoders posenet-fc6 --chairs 50 --out out/attributes
Understand | study features | studies:StudyFeatures | features.study:study_features
    --networks posenet posenet-judge --chairs 40 --out out/features
Understand | study surgery | studies:StudySurgery | surgery.study:study_surgery
    --decoders posenet-fc7 --chairs 24 --out out/surgery
Understand | study agree | studies:StudyAgree | agree.study:study_agree
    --network posenet --layers relu5 relu7 fc8 --chairs 40 --out out/agree
Understand | study methods | studies:StudyMethods | methods:study_methods
    --decoders posenet-fc6 --chairs 8 --out out/methods
Understand | study priors | studies:StudyPriors | priors:study_priors
    --network posenet --layers relu5 relu7 fc8 --out out/priors
Understand | study all | studies:StudyAll | whole:study_all
    --out out/study
Understand | study vote | studio:StudyVote | netinvert.studio.serve:study_vote
    out/priors
Understand | study perturb | studies:StudyPerturb | codes.study:study_codes
    --decoders posenet-fc6 posenet-pose --chairs 20 --out out/perturb
Understand | study interpolate | studies:StudyInterpolate | codes.study:study_codes
    --decoders posenet-fc6 posenet-pose --chairs 20 --out out/interpolate
Understand | study random | studies:StudyRandom | codes.study:study_codes
    --decoders posenet-fc6 posenet-pose --chairs 20 --out out/random
Understand | study iterate | studies:StudyIterate | codes.study:study_codes
    --decoders posenet-fc6 posenet-pose --chairs 20 --out out/iterate
Look | pose read | training:PoseRead | pose_reading:read_poses_of
    sample:chair --network posenet --out out/pose
Train | decoder evaluate | training:DecoderEvaluate | evaluations:evaluate_decoder
    posenet-fc6 --chairs 50 --out out/posenet-fc6
Train | pose evaluate | training:PoseEvaluate | pose_evaluation:evaluate_pose
    --networks posenet posenet-judge --chairs 20 --out out/posenet
Train | pose train | training:PoseTrain | train:train_pose_network
    --data data --network posenet --out out/posenet
Train | decoder train | training:DecoderTrain | train:train_a_decoder
    --network mobilenet-v2 --layer pool --data photos --pixels 64 --out out/decoder
Train | views train | training:ViewsTrain | train:train_views
    --data out/rings --name chairs --out out/generator
Train | views evaluate | views:ViewsEvaluate | views.evaluate:evaluate_views
    --chairs 20 --out out/held-out
Train | views generate | views:ViewsGenerate | views.draw:generate_views
    --objects 0 1 2 --azimuths 45 135 --out out/views
Train | views turntable | views:ViewsTurntable | views.draw:turn_objects
    --objects 0 1 --out out/turntables
Train | views morph | views:ViewsMorph | views.morph:morph_objects
    --objects 0 1 --out out/morph
Train | views arithmetic | views:ViewsArithmetic | views.arithmetic:add_objects
    --attribute arms --out out/arithmetic
Train | views match | views:ViewsMatch | views.match:match_objects
    --pairs 30 --out out/match
Train | views transfer | views:ViewsTransfer | views.transfer:transfer_views
    --known 1 4 16 --samples 20000 --out out/transfer
Understand | views novel | views:ViewsNovel | views.novel:novel_views
    --chairs 12 --bank 20 --out out/novel
Understand | views reconstruct | views:ViewsReconstruct | views.reconstruct:reconstruct
    --chairs 4 --bank 20 --out out/shapes
Data | scenes render | training:ScenesRender | scenes:render_scenes
    --objects chairs --count 100 --views 20 --out data
Data | scenes show | training:ScenesShow | scenes:show_scenes
    data --out out/scenes
Repeat | rerun | images:Rerun | commands:run_rerun
    out/photo --out out/again
"""


def _commands() -> dict[str, Command]:
    """A row of the table is the section, the name, the config among ``configs`` and the function among the
    experiments; below it, what an example says behind the name."""
    found = {}
    for row in re.split(r"\n(?=\S)", _TABLE.strip()):
        head, *example = row.splitlines()
        section, name, config, run = head.split(" | ")
        here = "netinvert.experiments."
        places = (f"{here}configs.{config}", run if run.startswith("netinvert.") else here + run)
        found[name] = Command(*places, section, " ".join((PROGRAM, name, *map(str.strip, example))))
    return found


COMMANDS = _commands()


def perform(config: Config, tell: Tell = lambda text: None) -> Outcome:
    """Run the config's command. Raises NetinvertError."""
    from netinvert.io.running import torch_threads

    run = imported(COMMANDS[config.command].run)
    with torch_threads(getattr(config, "threads", None)):
        outcome: Outcome = run(config, tell)
    return outcome


# -- repeating a run from its manifest, and comparing all of its files --------------------------------------


def run_rerun(asked: Rerun, tell: Tell) -> Outcome:
    """Run it again into ``asked.out``. Raises NetinvertError before any long work."""
    file = asked.manifest / MANIFEST if asked.manifest.is_dir() else asked.manifest
    first = read_json(file)
    with refusing(file, ConfigError, remedy="mend it, or run the command itself"):
        if not isinstance(first, dict) or not isinstance(first.get("files"), dict) or not first["files"]:
            raise ConfigError("it is not the manifest of a run, for it lists no files; give the one of a run")
        if any(not isinstance(first.get(key, {}), dict) for key in ("contents", "versions")):
            raise ConfigError("what it says of contents or versions is damaged; run the command itself")
        if not asked.trust and (named := _distrusted(first.get("command"))):
            raise ConfigError(f"it names {named}: it could run code or fetch; add --trust if you know it")
        config = _with_inputs(_repeated(first, asked), first, file.parent, tell)
        if isinstance(config, Output) and config.manifest_file.resolve() == file.resolve():
            raise ConfigError("the first run is there, and would be compared with itself; give another --out")
        _check_weights(config, first)
    one_file = isinstance(config, Output) and config.one_file
    if one_file:
        make_directory(asked.out)
    try:
        done = perform(config, tell)
    except FinishedError:  # perhaps one that was killed when all but the comparison was written
        if not isinstance(config, Output) or RERUN in (facts := read_json(config.manifest_file)):
            raise
        done = Outcome(facts, folder=None if one_file else asked.out)
    found = compare(first, done.facts)
    facts = {**done.facts, RERUN: {**dataclasses.asdict(found), "sentence": found.sentence}}
    if isinstance(config, Output) and (one_file or done.folder is not None):
        path = config.manifest_file
        try:
            remove_half_written(path.parent, (path.name,))
        except OSError as error:
            raise output_error(path, error) from error
        write_json(inside(path.parent, path.name, OutputError), facts)
    return Outcome(facts, "\n".join(filter(None, (done.text, found.sentence))), done.folder)


def _repeated(first: Mapping[str, Any], asked: Rerun) -> Config:
    """The first config with another place, and as many threads as then: the order of sums depends on them."""
    facts = first.get("command")
    if not isinstance(facts, Mapping) or facts.get(COMMAND) == asked.command:
        raise ConfigError("the manifest says no command, so it cannot be repeated; run the command itself")
    name = facts.get(COMMAND)
    if not isinstance(name, str) or name not in COMMANDS:
        raise ConfigError(f"there is no command '{name}'; 'netinvert --help' lists them")
    cls = COMMANDS[name].load()
    names = {field.name for field in fields_of(cls)}
    # A card would be written beside the decoder, and all that is written stays in --out.
    changes = {"out": str(asked.out), "overwrite": asked.overwrite, "trust": asked.trust, "card": False}
    if issubclass(cls, Output) and cls.one_file:  # of the same name as then
        changes["out"] = str(asked.out / Path(str(facts.get("out"))).name)
    if facts.get("threads") is None and isinstance(first.get("threads"), int):
        changes["threads"] = first["threads"]
    return cls.from_facts({**facts, **{name: value for name, value in changes.items() if name in names}})


def _distrusted(facts: object) -> str:
    """What of a manifest's command could run code, or fetch something; nothing if nothing could."""
    from netinvert.models.registry import untrusted_in

    if isinstance(facts, str):
        return untrusted_in(facts)
    if isinstance(facts, Mapping):
        ray = facts.get("ray")
        elsewhere = [f"the cluster {ray}"] if ray not in (None, "local") else []
        return next(filter(None, [*elsewhere, *map(_distrusted, facts.values())]), "")
    return next(filter(None, map(_distrusted, facts)), "") if isinstance(facts, list) else ""


def _with_inputs(config: C, first: Mapping[str, Any], folder: Path, tell: Tell) -> C:
    """With what the run kept in place of inputs that are gone or have changed. Raises ConfigError."""
    sources = first.get("inputs") or []
    if not isinstance(sources, list) or not all(isinstance(one, dict) for one in sources):
        raise ConfigError("the manifest's list of inputs is damaged; run the command itself")
    fields = {field.name: field for field in fields_of(type(config))}
    stand_ins: dict[str, Any] = {}
    for source in sources:
        field = fields.get(str(source.get("option")))
        if _unchanged(source) or (field is not None and field.name in stand_ins):
            continue
        kept = None if field is None or not field.option.kept else folder / field.option.kept
        if field is None or kept is None or not kept.is_file():
            raise ConfigError(
                f"{source.get('name')} is gone or has changed since the first run; bring it back"
            )
        tell(f"{source.get('name')} is gone or has changed; going by {kept.name}, which the run kept")
        stand_ins[field.name] = field.convert(str(kept))
    return dataclasses.replace(config, **stand_ins)


def _unchanged(source: Mapping[str, Any]) -> bool:
    try:
        return sha256_of(str(source.get("name"))) == source.get("sha256")
    except NetinvertError:
        return False


def _check_weights(config: Config, first: Mapping[str, Any]) -> None:
    wanted = first.get("weights_sha256")
    if wanted is None or not isinstance(config, OfNetwork):
        return
    from netinvert.experiments.inputs import open_network
    from netinvert.models.checkpoints import weights_sha256

    if weights_sha256(open_network(config).module) != wanted:
        raise NetworkError(
            f"the weights of {config.network} are not those of the first run, so it cannot be repeated; "
            f"bring the old weights back, or run the command itself: {config.command_line()}"
        )
