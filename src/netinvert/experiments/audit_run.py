"""The command ``audit``: read, audit, leave the page."""

from __future__ import annotations

from netinvert.evaluation.save_results import labels
from netinvert.experiments.audit import audit
from netinvert.experiments.audit_inputs import Audited, read_audited, read_decoder
from netinvert.experiments.audit_report import audit_page, sheet, told
from netinvert.experiments.commands import Tell
from netinvert.experiments.configs.audit import Audit
from netinvert.experiments.inversions import finish, run_facts
from netinvert.io.files import save_tensors, write_json
from netinvert.io.images import write_png
from netinvert.io.manifest import Outcome
from netinvert.io.rundir import RunDir
from netinvert.models.decoder import Decoder


def run_audit(config: Audit, tell: Tell) -> Outcome:
    """Audit, and leave the page. Raises NetinvertError before any long work."""

    subject, sources = read_audited(config, tell)
    decoder = read_decoder(config, subject.encoder, tell)
    facts = run_facts(
        config, subject.encoder, [subject.targets], names=subject.names, **_told(subject, decoder)
    )
    with RunDir(config.out, facts, config.overwrite) as folder:
        found = audit(config, subject, decoder, folder, tell)
        for one in found.reconstructions:
            for name, image in zip(found.names, one.images, strict=True):
                write_png(image, folder.path(f"images/{name}-{one.method}.png"))
            labelled = labels(subject.encoder, found.names)
            save_tensors(folder.path(f"{one.method}.safetensors"), {"image": one.images}, labelled)
        page = audit_page(config, found)
        page.save(lambda name, data: folder.path(name).write_bytes(data), ("html", "md"))
        folder.path("contact-sheet.png").write_bytes(sheet(found).png())
        write_json(folder.path("audit.json"), found.facts())
        entries = {
            "code_shape": subject.encoder.code_shape,
            "inputs": sources,
            "cpu_seconds": {one.method: round(one.cpu_seconds, 3) for one in found.reconstructions},
            **found.facts(),
        }
        return finish(folder, config, subject.encoder, entries, told(found))


def _told(subject: Audited, decoder: Decoder | None) -> dict[str, object]:
    """What its results depend on, beside the codes."""
    judge = subject.judge
    return {
        "judge_weights": None if judge is None else [judge.layer, judge.weights_sha256()],
        "decoder_used": None
        if decoder is None
        else [decoder.name, list(decoder.module.state_dict().values())],
        "attribute_values": [*subject.attributes, subject.groups],
    }
