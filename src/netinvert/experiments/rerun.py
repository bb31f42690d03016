"""Repeating a run from its manifest, and comparing all of its files."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from netinvert.errors import ConfigError, NetinvertError, NetworkError
from netinvert.experiments.commands import Tell, config_class, perform
from netinvert.experiments.configs.rerun import Rerun
from netinvert.experiments.inputs import open_network
from netinvert.io.config import COMMAND, Config, fields_of
from netinvert.io.files import read_json, sha256_of, write_json
from netinvert.io.manifest import MANIFEST, Outcome, compare
from netinvert.io.pieces import OfNetwork
from netinvert.models.network import weights_sha256

C = TypeVar("C", bound=Config)


def run_rerun(asked: Rerun, tell: Tell) -> Outcome:
    """Run it again into ``asked.out``. Raises NetinvertError before any long work."""
    file = asked.manifest / MANIFEST if asked.manifest.is_dir() else asked.manifest
    first = read_json(file)
    if not isinstance(first, dict) or not isinstance(first.get("files"), dict) or not first["files"]:
        raise ConfigError(
            f"{file} is not the manifest of a run: it lists no files; give the manifest.json of one"
        )
    config = _repeated(first, asked)
    if not asked.trust and (code := _code_named_in(config)):
        raise ConfigError(f"the manifest wants to run the code {code}; add --trust if you know it")
    config = _with_inputs(config, first, file.parent, tell)
    _check_weights(config, first)
    done = perform(config, tell)
    found = compare(first, done.facts)
    facts = {**done.facts, "rerun": {**dataclasses.asdict(found), "sentence": found.sentence}}
    if done.folder is not None:
        write_json(done.folder / MANIFEST, facts)
    return Outcome(facts, "\n".join(filter(None, (done.text, found.sentence))), done.folder)


def _repeated(first: Mapping[str, Any], asked: Rerun) -> Config:
    """The first config with another place, and as many threads as then: the order of sums depends on them."""
    facts = first.get("command")
    if not isinstance(facts, Mapping) or facts.get(COMMAND) == Rerun.command:
        raise ConfigError("the manifest says no command, so it cannot be repeated; run the command itself")
    cls = config_class(facts.get(COMMAND))
    names = {field.name for field in fields_of(cls)}
    changes = {"out": str(asked.out), "overwrite": asked.overwrite}
    if facts.get("threads") is None and isinstance(first.get("threads"), int):
        changes["threads"] = first["threads"]
    return cls.from_facts({**facts, **{name: value for name, value in changes.items() if name in names}})


def _code_named_in(config: Config) -> str | None:
    values = (
        value for field in fields_of(type(config)) for value in field.values(getattr(config, field.name))
    )
    return next((value for value in values if isinstance(value, str) and value.startswith("module:")), None)


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
    if weights_sha256(open_network(config).module) != wanted:
        raise NetworkError(
            f"the weights of {config.network} are not those of the first run, so it cannot be repeated; "
            f"bring the old weights back, or run the command itself: {config.command_line()}"
        )
