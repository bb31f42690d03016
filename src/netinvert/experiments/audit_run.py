"""The command ``audit``: read, audit, leave the page."""

from __future__ import annotations

from netinvert.evaluation.save_results import labels
from netinvert.experiments.audit import audit
from netinvert.experiments.audit_inputs import audit_decoder, read_audited
from netinvert.experiments.audit_report import audit_page, told
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.studies import Audit
from netinvert.experiments.runs import decoder_facts, network_facts, publish, run_facts
from netinvert.io.files import save_tensors, write_json
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir


def run_audit(config: Audit, tell: Tell) -> Outcome:
    """Audit, and leave the page. Raises NetinvertError before any long work."""
    subject, sources = read_audited(config, tell)
    decoder = audit_decoder(config, subject.encoder, tell)
    judge = subject.judge
    known = {
        **network_facts(subject.encoder),
        "targets": subject.targets,
        "names": subject.names,
        "judge": None if judge is None else [judge.layer, judge.weights_sha256()],
        "decoder": [] if decoder is None else decoder_facts([decoder]),
        "attributes": [*subject.attributes, subject.groups],
    }
    with RunDir(config.out, run_facts(config, known), config.overwrite) as folder:
        found = audit(config, subject, decoder, folder, tell)
        for one in found.reconstructions:
            for name, image in zip(found.names, one.images, strict=True):
                write_png(image, folder.path(f"images/{name}-{one.method}.png"))
            labelled = labels(subject.encoder, found.names)
            save_tensors(folder.path(f"{one.method}.safetensors"), {"image": one.images}, labelled)
        write_json(folder.path("audit.json"), found.facts())
        entries = {
            **network_facts(subject.encoder),
            "code_shape": subject.encoder.code_shape,
            "inputs": sources,
            "cpu_seconds": {one.method: round(one.cpu_seconds, 3) for one in found.reconstructions},
            **found.facts(),
        }
        return publish(folder, config, audit_page(config, found), entries, told(found), ("html", "md", "png"))
