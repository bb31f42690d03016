"""All studies as one: each is a run of its own, what is there is not made again, what cannot be is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from netinvert.cli.app import main
from netinvert.errors import ConfigError, OutputError
from netinvert.experiments import commands
from netinvert.experiments.configs.studies import StudyAll, StudyFeatures
from netinvert.experiments.registered import FEATURES, PRIORS, registered
from netinvert.experiments.whole import STUDIES, study_all
from netinvert.io.files import read_json, write_atomic
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.scenes.seeds import OPENED, SETS

ABLE = "posenet"


@pytest.fixture
def made(monkeypatch) -> list[object]:
    """Studies that leave a sentence and a table at once; which were asked."""
    asked = []

    def perform(config, tell):
        asked.append(config)
        if config.command == "study priors" and config.network != ABLE:
            raise ConfigError("none of its layers is known: name some with --layers")
        with RunDir(config.out, config.identity(), config.overwrite) as run:
            write_atomic(run.path("registered.csv"), b"says,ratio,ratio low,ratio high,p\nback,2.5,2,3,\n")
            folder = run.commit({"answer": f"**{config.command}** says so."})
        return Outcome(read_json(folder / "manifest.json"), "", folder)

    monkeypatch.setattr(commands, "perform", perform)
    return asked


def test_every_answer_stands_first_and_what_is_there_is_not_made_again(tmp_path, made):
    config = StudyAll(out=tmp_path / "study")
    said = study_all(config, print)
    assert [one.command for one in made] == [study.plan.command for study in STUDIES.values()]
    page = (tmp_path / "study" / "report.md").read_text()
    first, _, rest = page.partition("## ")
    for study in STUDIES.values():
        assert f"**{study.question}** **{study.plan.command}** says so." in first
        assert study.question in said.text
    assert "2.500 (2.000 to 3.000)" in rest
    study_all(replace(config, overwrite=True), print)
    assert len(made) == 2 * len(STUDIES)  # asked again, each found what is there
    quick = replace(config, quick=True, studies=("features",))
    with pytest.raises(OutputError, match="holds another run"):
        study_all(quick, print)
    study_all(replace(quick, overwrite=True), print)
    assert (made[-1].overwrite, made[-1].seed) == (True, OPENED)


def test_the_plans_are_what_is_run(tmp_path, made):
    study_all(StudyAll(out=tmp_path / "study", workers=2, threads=1), print)
    assert [registered(one, plan) for one, plan in zip(made, (s.plan for s in STUDIES.values()), strict=True)]
    assert all(one.workers == 2 and one.threads == 1 for one in made)
    assert [one.out.name for one in made] == [f"study-{name}" for name in STUDIES]


def test_a_small_one_opens_no_test(tmp_path, made):
    study_all(StudyAll(out=tmp_path / "study", quick=True), print)
    assert {one.seed for one in made} == {OPENED}
    assert not any(registered(one, s.plan) for one, s in zip(made, STUDIES.values(), strict=True))


def test_what_a_network_cannot_is_named_and_the_rest_goes_on(tmp_path, made):
    said = study_all(StudyAll(out=tmp_path / "study", network="posenet-only", quick=True), print)
    assert list(said.facts["missing"]) == ["surgery", "priors"]
    page = (tmp_path / "study" / "report.md").read_text()
    assert "## Not measured" in page
    assert "no decoder of posenet-only ships" in page
    assert "none of its layers is known" in page
    features, attributes, agree, priors = made
    assert (attributes.layers, attributes.decoders) == (agree.layers, ())
    assert features.networks == ("posenet-only",)
    assert agree.network == priors.network == "posenet-only"
    assert agree.layers == priors.layers == ("relu5", "fc8")


def test_where_nothing_can_be_measured(tmp_path, made):
    with pytest.raises(ConfigError, match="nothing could be measured: none of its layers"):
        study_all(StudyAll(out=tmp_path / "study", network="dsift", studies=("priors",)), print)
    assert not (tmp_path / "study").exists()


def test_anothers_folder_is_refused(tmp_path, made):
    (tmp_path / "study-features").mkdir()
    (tmp_path / "study-features" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="study-features"):
        study_all(StudyAll(out=tmp_path / "study"), print)
    assert (tmp_path / "study-features" / "mine.txt").read_text() == "mine"


def test_an_unknown_study_is_refused(tmp_path, capsys):
    assert main(["study", "all", "--studies", "colours", "--out", str(tmp_path / "s")]) == 2
    assert "features" in capsys.readouterr().err


def test_plans_are_of_test_sets_of_their_own():
    seeds = [study.plan.seed for study in STUDIES.values()]
    assert len(set(seeds)) == len(seeds)
    assert all(any(one.seed == seed and one.use == "test" for one in SETS.values()) for seed in seeds)


def test_another_place_is_the_same_test_and_other_chairs_are_not():
    assert registered(replace(PRIORS, device="cuda", batch=64, out=Path("x"), workers=4), PRIORS)
    assert not registered(replace(PRIORS, seed=303), PRIORS)
    assert not registered(replace(FEATURES, chairs=20), FEATURES)
    assert not registered(StudyFeatures(out=Path("x")), FEATURES)
