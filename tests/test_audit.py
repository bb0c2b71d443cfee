"""`excise audit`: what it writes, that it goes on where it was stopped, its words, bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

import made_up
from excise.attacks import get
from excise.attacks.engine import Engine
from excise.cli import app
from excise.files import read_json
from excise.jobs import audit as job
from excise.jobs.audit import audit
from excise.models import Model, load
from excise.report import audit_table as words
from excise.requests.audit import AuditRequest, file_name
from excise.results.audit_result import AttackResult, AuditFile, Compared, Effort, Outcome, Verdict
from excise.settings import parse
from painted_pictures import no_pictures
from test_attacks import random_edit


def compared(attack: AttackResult) -> Compared:
    """What came of an attack that was made."""
    assert attack.compared is not None
    return attack.compared


def timeless(found: Outcome) -> Outcome:
    return found.model_copy(update={"seconds": 0.0})


FAST = ["guidance:kappas=-1", "seeds:tries=1"]
FEW: dict[str, Any] = {"prompts": 2, "budget": 40}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXCISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def edit(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edits") / "dog"
    random_edit(load(tiny_canvas, device="cpu"), "dog").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def gold(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another model of the same shape."""
    import torch

    model = load(tiny_canvas, device="cpu")
    folder = tmp_path_factory.mktemp("models") / "gold"
    with torch.no_grad():
        model.denoiser.conv_in.weight += 0.3  # type: ignore[operator, union-attr]
    model.pipeline.save_pretrained(folder)
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_attack_has_a_file_a_sheet_and_what_it_found(tiny_canvas: Path, edit: Path, gold: Path, tmp_path: Path) -> None:
    before = (edit / "edit.safetensors").read_bytes()
    found = audit(edit, model=tiny_canvas, gold=gold, attacks=FAST, out=tmp_path / "x", **FEW).found
    names = ["guidance_kappas=-1", "seeds_tries=1"]
    assert files(tmp_path / "x") == sorted(
        ["audit.json", *(f"attacks/{name}.{kind}" for name in names for kind in ("json", "png", "safetensors"))]
    )
    assert AuditFile.read(tmp_path / "x" / "audit.json") == found
    assert found.about.concept == "object:dog" and found.about.prompts == 2
    assert found.limits[0].startswith("Passing is evidence, not proof")
    assert [attack.attack for attack in found.attacks] == ["guidance", "seeds"]
    for attack in found.attacks:
        told = compared(attack)
        assert set(told.controls) == {"neutral", "gold"} == set(found.plain.controls) == set(told.above)
        assert told.verdict in ("revived", "not revived", "cannot tell")
        for result in (told.erased, *told.controls.values()):
            low, high = result.rate.interval or (1, 0)
            assert 0 <= low <= result.rate.value <= high <= 1 and result.calls <= attack.budget == 40
            assert result.cases == (), "the single prompts are in the attack's own file"
    cases = compared(AttackResult.read(tmp_path / "x" / "attacks" / "seeds_tries=1.json")).erased.cases
    assert [case.seed for case in cases] == [0, 1] and cases[0].prompt == "a picture of a dog"
    tensors = load_file(tmp_path / "x" / "attacks" / "seeds_tries=1.safetensors")
    assert set(tensors) == {"erased.best", "neutral.best", "gold.best"} and tensors["gold.best"].shape == (2, 4, 8, 8)
    assert (edit / "edit.safetensors").read_bytes() == before
    text = found.model_dump_json()
    assert str(tmp_path) not in text and str(tiny_canvas) not in text, "no path of this machine"
    assert not re.search(r'"[^"]*[ .][^"]*":', text), "every key is an identifier"


def test_stopped_it_goes_on_and_does_only_what_is_missing(
    tiny_canvas: Path, edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = audit(edit, model=tiny_canvas, attacks=FAST, out=tmp_path / "whole", **FEW).found
    attack = Engine.attack
    ran: list[str] = []

    def stop_at_the_second(self: Any, chosen: Any) -> Any:
        ran.append(chosen.attack.name)
        if len(ran) == 2:
            raise KeyboardInterrupt
        return attack(self, chosen)

    def interrupted(self: Any, chosen: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "attack", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt) as stopped:
        audit(edit, model=tiny_canvas, attacks=FAST, out=tmp_path / "x", **FEW)
    assert "the same command goes on" in stopped.value.__notes__[0]
    monkeypatch.setattr(Engine, "attack", interrupted)
    with pytest.raises(KeyboardInterrupt) as stopped:
        audit(edit, model=tiny_canvas, attacks=FAST, out=tmp_path / "y", overwrite=True, **FEW)
    assert "the same command without overwrite goes on" in stopped.value.__notes__[0]
    monkeypatch.setattr(Engine, "attack", stop_at_the_second)
    again = audit(edit, model=tiny_canvas, attacks=FAST, out=tmp_path / "x", **FEW).found
    assert ran == ["guidance", "seeds", "seeds"]
    for one, other in zip(map(compared, whole.attacks), map(compared, again.attacks), strict=True):
        assert timeless(one.erased) == timeless(other.erased) and one.verdict == other.verdict
        assert timeless(one.controls["neutral"]) == timeless(other.controls["neutral"])
    audit(edit, model=tiny_canvas, attacks=FAST, out=tmp_path / "x", prompts=2, budget=80)
    assert ran[3:] == ["guidance", "seeds"], "another budget is another attack"


def test_controls_are_attacked_once_for_all_edits_of_a_base(
    tiny_canvas: Path, edit: Path, gold: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from excise.attacks import engine

    attacked: list[str] = []
    assault = engine.assault

    def counted(chosen: Any, model: Any, subject: Any, *arguments: Any, **named: Any) -> Any:
        attacked.append(subject.name)
        return assault(chosen, model, subject, *arguments, **named)

    monkeypatch.setattr(engine, "assault", counted)
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": FAST[1], **FEW}
    one = audit(edit, gold=gold, out=tmp_path / "one", **options).found
    random_edit(load(tiny_canvas, device="cpu"), "dog", scale=0.2).save_pretrained(tmp_path / "edit")
    other = audit(tmp_path / "edit", gold=gold, out=tmp_path / "other", **options).found
    assert attacked == ["erased", "neutral", "gold", "erased"]
    assert compared(one.attacks[0]).controls == compared(other.attacks[0]).controls

    model = load(gold, device="cpu")
    with torch.no_grad():
        model.denoiser.conv_in.weight += 0.3  # type: ignore[operator, union-attr]
    model.pipeline.save_pretrained(tmp_path / "gold")
    audit(edit, gold=tmp_path / "gold", out=tmp_path / "another", **options)
    assert attacked[4:] == ["erased", "gold"], "another gold standard is another control"


def test_a_folder_of_another_audit_is_kept(
    tiny_canvas: Path, edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "x", **FEW)
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"another audit \(prompts was 2, now 3\)"):
        no_pictures(patch)
        audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "x", prompts=3, budget=40)
    with pytest.raises(ValueError, match=r"another audit \(precision was 'float32', now 'mixed'\)"):
        audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "x", dtype="mixed", **FEW)
    there = files(tmp_path / "x")
    with pytest.raises(ValueError, match="bad option: prompts=0"):
        audit(edit, model=tiny_canvas, attacks=FAST[0], out=tmp_path / "x", prompts=0, budget=40, overwrite=True)
    assert files(tmp_path / "x") == there
    found = audit(edit, model=tiny_canvas, attacks=FAST[0], out=tmp_path / "x", prompts=3, budget=40, overwrite=True).found
    assert [attack.attack for attack in found.attacks] == ["guidance"]
    attacks = tmp_path / "x" / "attacks"
    (attacks / "notes.txt").write_text("mine", encoding="utf-8")
    audit(edit, model=tiny_canvas, attacks=FAST[0], out=tmp_path / "x", prompts=3, budget=40, overwrite=True)
    assert (attacks / "notes.txt").read_text(encoding="utf-8") == "mine"
    told = read_json(tmp_path / "x" / "audit.json")
    assert {f"attacks/{path.name}" for path in attacks.iterdir()} - {"attacks/notes.txt"} <= set(told["written"])
    (tmp_path / "x" / "audit.json").write_text(json.dumps({**told, "written": []}), encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match=r"attacks/\S+\.(json|png|safetensors) exists and was not written by excise"):
            audit(edit, model=tiny_canvas, attacks=FAST[0], out=tmp_path / "x", prompts=3, budget=40, overwrite=overwrite)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(FileExistsError, match="not a result that could be replaced"):
        audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "mine", **FEW)


def test_a_folder_with_what_a_killed_write_left_is_taken(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    (tmp_path / "x" / ".audit.json.0123abcd.part").mkdir(parents=True)
    audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "x", **FEW)
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["attacks", "audit.json"]


def test_what_is_kept_of_another_sampler_is_not_taken(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    """Neither in the folder nor the neutral control in the cache."""
    import json

    import torch

    from excise.files import read_tensors

    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    audit(edit, model=model, attacks=FAST[1], out=tmp_path / "x", **FEW)
    config = model / "scheduler" / "scheduler_config.json"
    told = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps({**told, "beta_schedule": "linear"}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"another audit \(scheduler was"):
        audit(edit, model=model, attacks=FAST[1], out=tmp_path / "x", **FEW)
    audit(edit, model=model, attacks=FAST[1], out=tmp_path / "y", **FEW)
    best = [read_tensors(tmp_path / name / "attacks" / "seeds_tries=1.safetensors")[0]["neutral.best"] for name in "xy"]
    assert not torch.equal(*best)


def test_a_catalog_with_another_object_is_another_audit(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    """Attacks that train do so on pictures of the other concepts of its kind."""
    model = tmp_path / "model"
    shutil.copytree(tiny_canvas, model)
    audit(edit, model=model, attacks=FAST[1], out=tmp_path / "x", **FEW)
    told = json.loads((model / "excise.json").read_text(encoding="utf-8"))
    told["concepts"].append({"kind": "object", "name": "bird", "phrases": ["a bird"]})
    (model / "excise.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(ValueError, match=r"another audit \(catalog was"):
        audit(edit, model=model, attacks=FAST[1], out=tmp_path / "x", **FEW)


def test_a_damaged_control_in_the_cache_is_made_again(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": FAST[1], **FEW}
    whole = compared(audit(edit, out=tmp_path / "whole", **options).found.attacks[0]).controls["neutral"]
    (tensors,) = (tmp_path / "cache" / "attacks").glob("*.safetensors")
    size = tensors.stat().st_size
    for number, damage in enumerate((lambda: tensors.write_bytes(b"cut"), tensors.unlink)):
        damage()
        again = compared(audit(edit, out=tmp_path / f"{number}", **options).found.attacks[0]).controls["neutral"]
        assert timeless(again) == timeless(whole) and tensors.stat().st_size == size


def test_a_model_from_elsewhere_without_its_base(tiny_canvas: Path, tmp_path: Path) -> None:
    """No control and no attack that needs the base: it says so."""
    attacks = [*FAST[1:], "completion"]
    found = audit(model=tiny_canvas, concept="dog", attacks=attacks, out=tmp_path / "x", **FEW).found
    assert not found.plain.controls and found.plain.verdict == "no control"
    by_name = {attack.attack: attack for attack in found.attacks}
    assert compared(by_name["seeds"]).verdict == "no control" and "--base" in by_name["completion"].note
    told = "\n".join(words.lines(found))
    assert "no control was given (--base, --gold), so the rates alone do not say" in told and "none of" not in told


def test_a_model_from_elsewhere_is_an_edit_of_its_base(tiny_canvas: Path, gold: Path, tmp_path: Path) -> None:
    found = audit(model=gold, base=tiny_canvas, concept="dog", attacks=FAST[1], out=tmp_path / "x", **FEW).found
    assert set(found.plain.controls) == {"neutral"} and found.about.edits[0].method == "imported"


def test_a_budget_that_tries_nothing_is_not_a_result(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    found = audit(edit, model=tiny_canvas, attacks=FAST[1], out=tmp_path / "x", prompts=2, budget=3).found
    assert "too small" in found.attacks[0].note and found.attacks[0].compared is None
    assert "not measured" in words.table(found)[1]


def test_what_is_published_says_how_much_budget_it_takes(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    """50 tests of 2 prompts at 8 calls, and steps of 3 calls for both: one of them is 806, 2,000 are 12,800."""
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": "unlearndiffatk:preset=published", "prompts": 2}
    (attack,) = audit(edit, out=tmp_path / "x", budget=805, **options).found.attacks
    assert attack.note.endswith("is too small: it needs at least 806, and 12800 for all 2000 iterations")
    found = audit(edit, out=tmp_path / "x", budget=806, **options).found
    assert compared(found.attacks[0]).erased.untried == 0
    assert "UnlearnDiffAtk: 1 of 2000 iterations, all that the budget paid for" in words.lines(found)


def test_an_attack_that_cannot_run_is_noted_and_the_rest_is_made(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    attacks = ["completion:handovers=99", FAST[1]]
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": attacks, "out": tmp_path / "x", **FEW}
    seeds, completion = audit(edit, **options).found.attacks
    assert seeds.compared and "this model samples in 4 steps" in completion.note


def test_a_note_leaves_nothing_of_an_earlier_result(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": FAST[1], "out": tmp_path / "x", "prompts": 2}
    audit(edit, budget=40, **options)
    assert len(files(tmp_path / "x")) == 4
    audit(edit, budget=3, **options)
    assert files(tmp_path / "x") == ["attacks/seeds_tries=1.json", "audit.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attacks": "revan"}, "did you mean 'revam'"),
        ({"attacks": "seeds", "budget": 0}, "at least 1"),
        ({"attacks": "seeds", "prompts": 0}, "prompts=0: must be at least 1"),
        ({"attacks": "seeds", "concept": "cta"}, "did you mean 'cat'"),
        ({"attacks": "seeds", "gold": "nowhere"}, "no such model"),
        ({"attacks": "seeds", "gold": "canvas-without-cat"}, "trained without cat; it is no gold standard of erasing dog"),
    ],
)
def test_bad_input_is_refused(options: dict[str, Any], message: str, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        audit(edit, model=tiny_canvas, out=tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_a_damaged_file_is_named(tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"model": tiny_canvas, "attacks": FAST[1], "out": tmp_path / "x", **FEW}
    whole = audit(edit, **options).found
    for name in ("attacks/seeds_tries=1.json", "audit.json"):
        (tmp_path / "x" / name).write_text("{", encoding="utf-8")
        with pytest.raises(ValueError, match=f"{name} is not a whole JSON file"):
            audit(edit, **options)
    with pytest.raises(ValueError, match=r"audit\.json is not a whole JSON file"):
        audit(edit, overwrite=True, **options)  # nobody knows whose it is
    shutil.rmtree(tmp_path / "x")
    again = audit(edit, **options).found
    assert compared(again.attacks[0]).verdict == compared(whole.attacks[0]).verdict, "it can be made anew"


def test_names_of_files_are_not_too_long() -> None:
    texts = [f"p4d:{','.join(['steps=1'] * 40)},seed={seed}" for seed in (1, 2)]
    names = [file_name(text) for text in texts]
    assert len(set(names)) == 2 and max(map(len, names)) <= 180
    assert file_name("p4d:steps=1,seed=1") == "p4d_steps=1_seed=1"


def test_one_concept_must_be_meant(tiny_canvas: Path, tiny_sd1: Path) -> None:
    with pytest.raises(ValueError, match="name what was erased"):
        audit(model=tiny_canvas, attacks="seeds")
    with pytest.raises(ValueError, match="brings no classifier"):
        audit(model=tiny_sd1, concept="dog", attacks="seeds")


class TestCommand:
    def test_it_prints_a_table_and_what_it_cannot_show(self, tiny_canvas: Path, edit: Path, tmp_path: Path) -> None:
        command = ["audit", edit, "--model", tiny_canvas, "--attacks", " ".join(FAST), "--prompts", 2, "--budget", 40]
        result = CliRunner().invoke(app, [*map(str, command), "--out", str(tmp_path / "x")])
        assert result.exit_code == 0, result.output
        for word in (
            "guidance:kappas=-1",
            "seeds:tries=1",
            "none: plain prompts",
            "erased model",
            "verdict",
            "evidence, not proof",
            "--gold",
        ):
            assert word in result.stdout
        assert (tmp_path / "x" / "audit.json").is_file()

    def test_the_default_folder_is_beside_the_edit(self, tiny_canvas: Path, edit: Path) -> None:
        result = CliRunner().invoke(
            app, ["audit", str(edit), "--model", str(tiny_canvas), "--attacks", FAST[1], "--prompts", "1", "--budget", "16"]
        )
        assert result.exit_code == 0, result.output
        assert (edit.parent / "dog-audit" / "audit.json").is_file()

    def test_the_default_folder_is_beside_the_folder_one_is_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "dog" / "x").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "dog")
        for here in (".", "../dog", "x/.."):
            assert parse(AuditRequest, {"edit": here}, "option").folder == tmp_path / "dog-audit"

    def test_bad_input_is_one_line(self, tiny_canvas: Path, edit: Path) -> None:
        result = CliRunner().invoke(app, ["audit", str(edit), "--model", str(tiny_canvas), "--attacks", "seeds:trees=1"])
        assert result.exit_code == 2 and result.stderr.count("\n") == 1 and "trees" in result.stderr

    def test_help_and_refusals_load_no_torch(self, tiny_canvas: Path) -> None:
        code = """
import sys
from typer.testing import CliRunner
from excise.cli import app
assert CliRunner().invoke(app, ["audit", "--help"]).exit_code == 0
result = CliRunner().invoke(app, ["audit", "--model", sys.argv[1], "--concept", "cat", "--attacks", "revan"])
assert result.exit_code == 2, result.output
print("torch" in sys.modules)
"""
        environment = {**os.environ, "PYTHONPATH": str(Path(job.__file__).parents[2])}
        done = subprocess.run(
            [sys.executable, "-c", code, str(tiny_canvas)], env=environment, capture_output=True, text=True, timeout=600
        )
        assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_words_say_what_was_brought_back() -> None:
    def attack(name: str, verdict: Verdict) -> AttackResult:
        return made_up.attack(name, made_up.compared(verdict, made_up.outcome(broken=12), neutral=made_up.outcome()))

    guidance, inversion = attack("guidance", "revived"), attack("inversion", "cannot tell")
    found = made_up.audit(guidance, inversion, made_up.attack("p4d", note="why"), prompts=10, erased=1, neutral=0)
    told = "\n".join(words.lines(found))
    assert "brought back, more often than in the control: Signed guidance sweep\n" in told
    assert "cannot tell, because the attack makes the concept by itself in a control: Concept inversion" in told
    assert "Prompting4Debugging: not measured: why" in told and all(limit in told for limit in words.LIMITS)
    rows = words.table(found)
    assert rows[0][2:4] == ("10.0 % (1.8–40.4)", "0.0 % (0.0–27.8)") and rows[0][4] == "-" and rows[3][2] == "not measured"
    assert rows[1][5] == "revived" and rows[2][5] == "cannot tell; only the gold standard tells"
    assert "only the gold standard tells what was supplied from what was found: Concept inversion" in told
    assert "Signed guidance sweep" not in "".join(line for line in told.splitlines() if "bring the concept along" in line)
    told = "\n".join(words.lines(made_up.audit(attack("guidance", "not revived"), inversion, neutral=0)))
    assert "none of 1 attacks brought it back" in told, "what cannot be told is no all-clear"
    assert "none of" not in "\n".join(words.lines(made_up.audit(inversion, neutral=0)))


def test_words_say_what_the_budget_did_not_pay_for() -> None:
    def attack(name: str, **values: Any) -> AttackResult:
        return made_up.attack(name, made_up.compared("not revived", made_up.outcome(**values), neutral=made_up.outcome()))

    told = words.lines(made_up.audit(
        attack("seeds", untried=3, tries=Effort(paid=2, asked=8)), attack("lora", iterations=Effort(paid=4, asked=4)),
        attack("revam", iterations=Effort(paid=5, asked=9)), neutral=0,
    ))  # fmt: skip
    assert told[3:6] == [
        f"{get('seeds').title}: the budget ended before 3 of 24 prompts were tried",
        "RevAm: 5 of 9 iterations, all that the budget paid for",
        f"{get('seeds').title}: 2 of 8 tries of every prompt, all that the budget paid for",
    ]


def test_the_model_is_as_it_was(tiny_canvas: Path, edit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fingerprint before = after, for the attacks that change weights on the way too."""
    from excise.edits.applied import applied_edits, base_fingerprint
    from excise.models import loading

    kept: list[Model] = []
    original = loading.load

    def keep(*arguments: Any, **named: Any) -> Model:
        kept.append(original(*arguments, **named))
        return kept[-1]

    monkeypatch.setattr("excise.jobs.inputs.load", keep)
    attacks = ["rounding:bits=4", "finetuning:steps=1,batch=1,pictures=2,tests=1"]
    audit(edit, model=tiny_canvas, attacks=attacks, out=tmp_path / "x", prompts=1, budget=60)
    model = kept[0]
    assert not applied_edits(model)
    from excise.models.fingerprint import fingerprint, named_tensors

    assert fingerprint(named_tensors(model)) == fingerprint(named_tensors(original(tiny_canvas))) == base_fingerprint(model)
