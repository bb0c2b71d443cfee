"""`--harden`: what an audit keeps is what revived, it reaches the training as it was found, and what does not fit is refused."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from excise.attacks import Chosen, get
from excise.attacks.assault import assault
from excise.attacks.audited_model import AuditedModel, PlainPictures
from excise.cli import app
from excise.edits import load_edit
from excise.erasure import training
from excise.erasure.counterexamples import Counterexample, record
from excise.erasure.prompt_bank import PromptBank
from excise.erasure.random_text import random_strings
from excise.erasure.run import Run
from excise.erasure.training_pictures import generated_latents
from excise.jobs.audit import audit
from excise.jobs.erase import erase
from excise.jobs.harden import counterexamples
from excise.methods import get as get_method
from excise.methods.mim import erase as mim
from excise.models import Conditioning, Model, load
from excise.requests.audits import read_audits
from excise.results.audit_result import AttackResult, AuditFile
from test_attacks import ALWAYS, NEVER, SMALL, Seen, random_edit

QUICK: dict[str, Any] = {"rounds": 2, "steps": 2, "batch": 4, "trajectories": 2, "sampler_steps": 2, "phrasings": "plain"}
FAST = [
    "inversion:steps=2,batch=2,pictures=2,tests=1",
    "p4d:variants=n,iterations=2,tests=1,tokens=4,states=2",
    "seeds:tries=1",
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path_factory.getbasetemp() / "harden-cache"))


@pytest.fixture(scope="module")
def audited(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real audit of "cat" in which the (random) judge is overruled: whatever was tried, revived."""
    folder = tmp_path_factory.mktemp("audited")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCISE_CACHE", str(folder / "cache"))
        patch.setattr("excise.evaluation.detector.ClassifierDetector.__call__", lambda self, pictures: Seen(NEVER)(pictures))
        random_edit(load(tiny_canvas, device="cpu")).save_pretrained(folder / "cat")
        audit(folder / "cat", model=tiny_canvas, attacks=FAST, prompts=2, budget=200, device="cpu")
    overrule(folder / "cat-audit", "revived")
    return folder / "cat-audit"


def overrule(folder: Path, verdict: str, only: str = "") -> None:
    """Write a verdict on all attacks (whose name begins so), and that they broke every tried prompt: with "not revived" none."""
    for file in folder.glob(f"attacks/{only}*.json"):
        told = AttackResult.read(file).to_dict()
        erased = told["compared"]["erased"]
        for case in erased["cases"]:
            case["success"] = verdict != "not revived"
            case["pre"] = False
        erased["broken"] = sum(case["success"] for case in erased["cases"])
        told["compared"]["verdict"] = verdict
        AttackResult.model_validate(told).write(file)


def change(folder: Path, to: Path, **values: Any) -> Path:
    """A copy of an audit with other values in what its `audit.json` says of itself."""
    shutil.copytree(folder, to)
    found = AuditFile.read(to / "audit.json")
    found.model_copy(update={"about": found.about.model_copy(update=values)}).write(to / "audit.json")
    return to


def read(model: Model, *folders: Path) -> tuple[Counterexample, ...]:
    return counterexamples(read_audits(folders, [model.catalog.resolve("cat")]), model)


def weights(folder: Path) -> bytes:
    return (folder / "edit.safetensors").read_bytes()


def settings_of(**values: Any) -> Any:
    return get_method("mim").parse({**QUICK, **values})


# What attacks keep


@pytest.mark.parametrize(
    ("name", "values", "rest"),
    [
        ("inversion", {}, "masked"),
        ("unlearndiffatk", {}, "masked"),
        ("p4d", {"variants": ("n",)}, "empty"),
        ("p4d", {"variants": ("k",)}, "masked"),
        ("ring-a-bell", {"population": 6, "generations": 1}, "empty"),
        ("ring-a-bell-gradient", {"steps": 1}, "empty"),
    ],
)
def test_what_is_kept_makes_the_very_picture_that_revived(name: str, values: dict[str, Any], rest: str, canvas: Model) -> None:
    """Asked again at the seed of its prompt, an counterexample gives the latents that the detector took for the concept."""
    edit, concept = random_edit(canvas), canvas.catalog.resolve("cat")
    subject = AuditedModel("erased", (edit,))
    plain = replace(
        PlainPictures.of(canvas, subject, concept, Seen(NEVER), 3, 0), hits=(True, False, False)
    )  # the first shows it anyway
    shown = generated_latents(canvas, [case.wanted for case in plain.cases], [0, 1, 2], run=Run())
    chosen = Chosen(name, get(name), get(name).settings(**{**SMALL[name], **values}), 400)
    found = assault(chosen, canvas, subject, concept, plain, Seen(ALWAYS), shown=shown)
    for row in (1, 2):
        case, kept = plain.cases[row], found.outcome.cases[row].found
        assert kept is not None and kept.prompt is not None
        assert kept.masked == ("" if rest == "empty" else case.masked) and case.masked
        told = Conditioning(found.tensors["told"][row][None]) if name == "inversion" else canvas.encode([kept.prompt])
        with edit.applied(canvas):
            again = canvas.latents(told, [case.seed])
        assert torch.allclose(again[0], found.tensors["best"][row].float(), atol=0.01)
        assert not torch.allclose(again[0], plain.latents[row], atol=0.01), "the plain prompt makes another"
    assert ("told" in found.tensors) == (name == "inversion")
    assert name != "inversion" or not found.tensors["told"][0].any(), "nothing was tried on a prompt that showed it anyway"


def test_other_wordings_are_taken_for_themselves_without_the_concept(canvas: Model) -> None:
    from excise.attacks.search import WordSettings
    from excise.attacks.search.attack import _reworded, _with_random_words
    from test_attacks import victim

    attacked = victim(canvas)
    for case in attacked.cases:
        assert _reworded(attacked, case, 0, WordSettings()) in attacked.concept.pairs()
        pair = _with_random_words(attacked, case, 0, WordSettings())
        words = pair.prompt.removesuffix(case.asked)
        assert words.strip() and pair.masked == words + case.masked


# From the audit to the training


def test_an_audit_gives_what_showed_the_concept_in_it(audited: Path, canvas: Model, tmp_path: Path) -> None:
    """Of the attacks that left prompts or embeddings, of the erased model alone, whatever the verdict; seeds leave none."""
    found = read(canvas, audited)
    assert [counterexample.attack for counterexample in found] == ["inversion"] * 2 + ["p4d"] * 2
    told = load_file(next(audited.glob("attacks/inversion*.safetensors")))["erased.told"]
    assert all(torch.equal(counterexample.told, row) for counterexample, row in zip(found[:2], told, strict=True))  # type: ignore[arg-type]
    assert [counterexample.masked for counterexample in found] == ["a picture", "a picture in photo style", "", ""]
    assert {counterexample.concept for counterexample in found} == {"object:cat"} and read(
        canvas, audited / "audit.json"
    ) is not None
    unsure = change(audited, tmp_path / "unsure")
    overrule(unsure, "cannot tell")
    assert record(read(canvas, unsure)) == record(found)
    one = change(audited, tmp_path / "one")
    overrule(one, "not revived", "inversion")
    assert [counterexample.attack for counterexample in read(canvas, one, audited)] == ["p4d"] * 2 + ["inversion"] * 2 + [
        "p4d"
    ] * 2


def test_the_bank_has_them_beside_the_concepts_own_prompts(canvas: Model) -> None:
    concepts = [canvas.catalog.resolve(name) for name in ("cat", "dog")]
    row = torch.randn(77, 32, generator=torch.Generator().manual_seed(0))
    plain = PromptBank.of(canvas, concepts)
    bank = plain.with_counterexamples(
        canvas,
        concepts,
        [Counterexample("object:dog", "inversion", row, "a picture"), Counterexample("object:dog", "p4d", "xq", "")],
    )
    n = len(plain.pairs)
    assert torch.equal(bank.conditioned[:n].tokens, plain.conditioned.tokens) and torch.equal(
        bank.masked[:n].tokens, plain.masked.tokens
    )
    torch.testing.assert_close(bank.conditioned[n:].tokens, torch.stack([row, canvas.encode(["xq"]).tokens[0]]))
    torch.testing.assert_close(bank.masked[n:].tokens, canvas.encode(["a picture", ""]).tokens)
    assert bank.owner.tolist() == [*plain.owner.tolist(), 3, 3], "of concept 1 of 2"
    owners = bank.owner[bank.draw(9, torch.Generator().manual_seed(0))]
    assert owners.tolist() == [0, 1, 3] * 3, "they have turns of their own, however many prompts there are"
    assert plain.with_counterexamples(canvas, concepts, []) is plain
    words = [random_strings(canvas, one, torch.Generator().manual_seed(1)) for one in (plain, bank)]
    assert words[0] == words[1], "words of counterexamples are not words to erase: the metric still holds them"


def test_the_model_learns_to_take_an_artefact_for_its_masked_prompt(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """With counterexamples the answer to them moves to that of their masked prompt; without, it does not get near it."""
    monkeypatch.undo()  # the whole metric, of all its prompts
    concept = canvas.catalog.resolve("cat")
    row = 2 * torch.randn(77, 32, generator=torch.Generator().manual_seed(4))
    both = (Counterexample("object:cat", "inversion", row, "a picture"), Counterexample("object:cat", "p4d", "zz zz zz", ""))
    settings = settings_of(rounds=4, steps=20, batch=16, trajectories=8)
    told, rest = Conditioning(torch.stack([row, canvas.encode(["zz zz zz"]).tokens[0]])), canvas.encode(["a picture", ""])
    x, t = canvas.start_noise([1, 2]), torch.full((2,), 600)

    def gap(edit: Any) -> Tensor:
        with edit.applied(canvas), torch.no_grad():
            return (canvas.predict(x, t, told) - target).square().flatten(1).mean(1)

    with torch.no_grad():
        target = canvas.predict(x, t, rest)
    hardened, plain = (mim.erase(canvas, [concept], settings, Run(counterexamples=found)) for found in (both, ()))
    assert (gap(hardened) < 0.3 * gap(plain)).all()
    assert hardened.manifest.hardened == record(both) and plain.manifest.hardened is None


def test_excluding_asks_for_the_prior_of_an_artefacts_own_concept(canvas: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Priors that differ, and which of them goes with which row."""
    concepts = [canvas.catalog.resolve("cat"), canvas.catalog.resolve("style:sketch")]
    monkeypatch.setattr(mim, "_prior", lambda model, concept: 0.2 if concept.name == "cat" else 0.4)
    seen: list[tuple[list[int], list[float]]] = []
    targets = mim._targets

    def watched(model: Any, bank: PromptBank, priors: Tensor, states: Any, *rest: Any) -> Tensor:
        seen.append((bank.owner[states.row].tolist(), priors[bank.owner[states.row]].tolist()))
        return targets(model, bank, priors, states, *rest)

    monkeypatch.setattr(mim, "_targets", watched)
    found = tuple(Counterexample(concept.label, "p4d", "xq", "") for concept in concepts)
    mim.erase(canvas, concepts, settings_of(target="exclude", trajectories=4), Run(counterexamples=found))
    pairs = {pair for owners, priors in seen for pair in zip(owners, priors, strict=True)}
    assert pairs == {(0, 0.2), (1, 0.4), (2, 0.2), (3, 0.4)}


def test_an_erasure_says_what_it_was_hardened_against(audited: Path, tiny_canvas: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none", "device": "cpu"}
    erase("cat", out=tmp_path / "plain", **options)
    erase("cat", out=tmp_path / "hard", harden=audited, **options)
    erase("cat", harden=[str(audited / "audit.json")], out=tmp_path / "again", **options)
    assert weights(tmp_path / "hard") == weights(tmp_path / "again") != weights(tmp_path / "plain")
    edit = load_edit(tmp_path / "hard")
    found = read(load(tiny_canvas, device="cpu"), audited)
    assert edit.manifest.hardened == record(found)
    assert edit.manifest.hardened["attacks"] == {"inversion": 2, "p4d": 2} and edit.manifest.ledger == []
    printed = CliRunner().invoke(app, ["info", str(tmp_path / "hard")]).stdout
    assert re.search("hardened against +2 by inversion, 2 by p4d", printed)
    assert "(2 by inversion, 2 by p4d)" in (tmp_path / "hard" / "README.md").read_text(encoding="utf-8")
    assert "Hardened" not in (tmp_path / "plain" / "README.md").read_text(encoding="utf-8")


def test_the_record_tells_artefacts_apart() -> None:
    row = torch.arange(6.0).view(2, 3)
    one = Counterexample("object:cat", "inversion", row, "a picture")
    others = [
        replace(one, told=row + 1e-6),
        replace(one, told=row.view(3, 2)),
        replace(one, masked=""),
        replace(one, concept="x:y"),
    ]
    digests = [record([counterexample])["sha256"] for counterexample in (one, *others)]  # type: ignore[index]
    assert len(set(digests)) == 5 and record([one]) == record([replace(one, told=row.clone())]) and record([]) is None


def test_a_run_goes_on_only_with_the_same_artefacts(
    audited: Path, tiny_canvas: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "settings": QUICK, "evaluate": "none", "device": "cpu"}
    store = training._store

    def stop(*arguments: Any) -> None:
        store(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "_store", stop)
        erase("cat", harden=audited, out=tmp_path / "parts", **options)
    other = change(audited, tmp_path / "other")
    file = next(other.glob("attacks/inversion*.safetensors"))
    tensors = load_file(file)
    save_file({**tensors, "erased.told": tensors["erased.told"] + 0.1}, file)
    for audits in ((), other):
        with pytest.raises(ValueError, match=r"hardened was \{'attacks'"):
            erase("cat", harden=audits, out=tmp_path / "parts", resume=True, **options)
    erase("cat", harden=audited, out=tmp_path / "parts", resume=True, **options)
    erase("cat", harden=audited, out=tmp_path / "whole", **options)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_a_checkpoint_of_other_artefacts_is_refused(canvas: Model, tmp_path: Path) -> None:
    concepts, checkpoint = [canvas.catalog.resolve("cat")], tmp_path / "run.safetensors"
    run = Run(checkpoint=checkpoint, counterexamples=(Counterexample("object:cat", "p4d", "xq", ""),))
    mim.erase(canvas, concepts, settings_of(), run)
    for found in ((), (Counterexample("object:cat", "p4d", "xz", ""),)):
        with pytest.raises(ValueError, match="belongs to a run with other settings"):
            mim.erase(canvas, concepts, settings_of(), replace(run, counterexamples=found))


# Refusals


def test_what_does_not_fit_is_refused(audited: Path, tiny_canvas: Path, tmp_path: Path) -> None:
    torn, nothing, sampler = (change(audited, tmp_path / name) for name in ("torn", "nothing", "sampler"))
    (torn / "audit.json").write_text("{", encoding="utf-8")
    overrule(nothing, "not revived")
    for attack in ("inversion", "p4d"):
        overrule(sampler, "not revived", attack)
    elsewhere = change(audited, tmp_path / "elsewhere", base="0" * 64)
    for folder, concept, error, message in [
        (tmp_path, "cat", FileNotFoundError, "is not the folder of an audit: it has no audit.json"),
        (torn, "cat", ValueError, r"torn/audit\.json is not a whole JSON file"),
        (audited, "dog", ValueError, "is an audit of object:cat, not of object:dog"),
        (nothing, "cat", ValueError, "no prompt and no embedding showed object:cat in .*nothing$"),
        (sampler, "cat", ValueError, r"what did \(seeds:tries=1\) left neither"),
        (elsewhere, "cat", ValueError, "an audit of another model than tiny canvas"),
    ]:
        with pytest.raises(error, match=message):
            erase(concept, model=tiny_canvas, harden=folder, out=tmp_path / "x", settings=QUICK, device="cpu")
        assert not (tmp_path / "x").exists()


def test_other_methods_say_that_they_do_not_take_it(audited: Path, tiny_canvas: Path, tmp_path: Path) -> None:
    command = ["erase", "cat", "--model", tiny_canvas, "--method", "esd", "--harden", audited, "--out", tmp_path / "x"]
    result = CliRunner().invoke(app, [*map(str, command)])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert "method 'esd' takes no audit to harden against; those that do: mim" in result.stderr
    result = CliRunner().invoke(
        app, [*map(str, command[:4]), "--harden", str(audited), "--dry-run", "--out", str(tmp_path / "x")]
    )
    assert result.exit_code == 0 and "harden" in result.stdout, result.output
