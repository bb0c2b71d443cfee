"""A student that learns from its teacher: the losses beside formulas written out, what must not change, resuming, and bad input."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor
from typer.testing import CliRunner

from excise.cli import app
from excise.digests import digest_tensors
from excise.edits import load_edit
from excise.erasure.run import Run
from excise.erasure.training_pictures import retained_pictures
from excise.jobs.distill import distill
from excise.jobs.prune import prune
from excise.jobs.report import report
from excise.models import Model, load
from excise.models.path import Path as NoisePath
from excise.pruning.distill_settings import DistillSettings
from excise.pruning.erasing import Erasing
from excise.pruning.repair import Parts, Repair, common_blocks
from excise.pruning.student_training import Levels, check_fits, plan, rate, train_student
from excise.results.student import StudentFile
from trained_methods import CAT, asked

QUICK: dict[str, Any] = {
    "rounds": 2, "steps": 2, "batch": 2, "inner": 1, "every": 2, "pictures": 2, "picture_steps": 1, "retain": "a dog; a bird",
    "retained": 2, "wording": "name",
}  # fmt: skip
SETTINGS = DistillSettings(**QUICK)
X, T = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([900, 400, 3])


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXCISE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def student_folder(tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students") / "student"
    prune(tiny_canvas, out=folder, keep=0.7)
    return folder


@pytest.fixture(scope="module")
def teacher(tiny_canvas: Path) -> Model:
    return load(tiny_canvas, device="cpu")


@pytest.fixture
def student(student_folder: Path) -> Model:
    return load(student_folder, device="cpu")


def erasing_of(model: Model, teacher: Model, upper: Any = "esd", **values: Any) -> Erasing:
    return Erasing(model, teacher, [CAT], upper, DistillSettings(**QUICK | values), Run())


# The lower level


@torch.no_grad()
def parts_of(student: Model, teacher: Model, truth: Tensor) -> Parts:
    repair = Repair.__new__(Repair)
    repair.student, repair.teacher, repair.settings = student, teacher, SETTINGS
    repair.blocks = common_blocks(student, teacher)
    return repair.parts(X, T, teacher.encode(["a dog"]).expand(3), truth)


def test_the_losses_are_those_of_the_formula(student: Model, teacher: Model) -> None:
    truth = torch.randn(3, 4, 8, 8)
    found = parts_of(student, teacher, truth)
    ours, theirs = asked(student, X, T, "a dog"), asked(teacher, X, T, "a dog")
    signal = teacher.pipeline.scheduler.alphas_cumprod[T].double()
    snr = signal / (1 - signal)
    weight = torch.minimum(snr, torch.tensor(5.0)) / snr
    errors = (ours - truth).square().mean((1, 2, 3))
    assert found.diffusion.item() == pytest.approx((weight * errors).mean().item(), rel=1e-5)
    assert found.output.item() == pytest.approx((ours - theirs).square().mean().item(), rel=1e-5)
    seen: list[dict[str, Tensor]] = []
    for model in (student, teacher):
        seen.append({})
        unet = model.pipeline.unet
        blocks = {f"down{i}": b for i, b in enumerate(unet.down_blocks)} | {f"up{i}": b for i, b in enumerate(unet.up_blocks)}
        hooks = [
            block.register_forward_hook(lambda m, i, out, at=seen[-1], name=name: at.update({name: out[0] if isinstance(out, tuple) else out}))
            for name, block in blocks.items()
        ]  # fmt: skip
        asked(model, X, T, "a dog")
        for hook in hooks:
            hook.remove()
    apart = [(seen[0][name] - seen[1][name]).square().mean() for name in seen[0]]
    assert len(apart) == 4 and found.features.item() == pytest.approx(torch.stack(apart).mean().item(), rel=1e-5)
    assert min(found.output.item(), found.features.item()) > 1e-4


def test_a_student_that_is_its_teacher_has_nothing_to_learn(tiny_canvas: Path, teacher: Model) -> None:
    same = load(tiny_canvas, device="cpu")
    found = parts_of(same, teacher, torch.zeros(3, 4, 8, 8))
    assert found.output == 0 and found.features == 0 and found.diffusion > 0
    with torch.no_grad():
        loss = erasing_of(same, teacher).loss(X, T, torch.tensor([0, 0, 0]))
    empty, with_concept = asked(teacher, X, T, ""), asked(teacher, X, T, "a cat")
    assert loss.item() == pytest.approx(4 * (with_concept - empty).square().mean().item(), rel=1e-4) and loss > 1e-6


def test_weights_of_the_settings_count_the_losses(student: Model, teacher: Model) -> None:
    """The whole loss is linear in them, with the published ones by default."""
    pictures, prompts = learning(teacher)

    def loss(**weights: float) -> float:
        values = {f"{name}_weight": value for name, value in weights.items()}
        with torch.no_grad():
            return float(Repair(student, teacher, pictures, prompts, DistillSettings(**QUICK | values), Run())(7))

    one, two, three = (
        loss(**{"diffusion": 0.0, "output": 0.0, "feature": 0.0} | {name: 1.0}) for name in ("diffusion", "output", "feature")
    )
    assert loss() == pytest.approx(one + 2 * two + 0.1 * three, rel=1e-5) and min(one, two, three) > 0


def learning(teacher: Model) -> Any:
    return retained_pictures(teacher, [], SETTINGS, Run())


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(gamma: float) -> None:
    """In 0..1, and 1 where the output's own signal-to-noise ratio is below gamma; for velocity codes add one to it first."""
    levels = torch.linspace(0.999, 0.001, 50, dtype=torch.float64)
    t = torch.arange(50)
    snr = levels / (1 - levels)
    for prediction, ratio in (("epsilon", snr), ("v_prediction", snr + 1)):
        found = NoisePath(prediction, 50, levels).min_snr_weight(t, gamma)  # type: ignore[arg-type]
        assert torch.allclose(found, ratio.clamp(max=gamma) / ratio) and (found > 0).all() and (found <= 1).all()
        assert torch.equal(found == 1, ratio <= gamma)
    ends = NoisePath("v_prediction", 2, torch.tensor([1.0, 0.0], dtype=torch.float64)).min_snr_weight(torch.arange(2), gamma)
    assert ends.tolist() == [0.0, 1.0], "no noise, and pure noise"


# The upper level


def test_the_target_means_the_same_for_noise_and_velocity(sd2: Model) -> None:
    """2 a - b has coefficients that add up to 1: a target of velocities, as noise, is that of the noises."""
    assert sd2.path.prediction == "v_prediction"
    erasing = erasing_of(sd2, sd2)
    rows = torch.tensor([0, 0, 0])
    empty, with_concept = (sd2.path.to_noise(asked(sd2, X, T, prompt), X, T) for prompt in ("", "a cat"))
    found = sd2.path.to_noise(erasing.target(X, T, rows), X, T)
    assert torch.allclose(found, 2 * empty - with_concept, atol=1e-5) and not torch.allclose(found, empty, atol=1e-4)


def test_a_concept_that_says_nothing_is_taken_for_nothing(teacher: Model) -> None:
    erasing, rows = erasing_of(teacher, teacher), torch.tensor([0, 0, 0])
    erasing.bank = replace(erasing.bank, conditioned=erasing.bank.empty.expand(len(erasing.bank.conditioned)))
    assert torch.allclose(erasing.target(X, T, rows), asked(teacher, X, T, ""), atol=1e-6)


def test_every_eraser_has_its_target(student: Model, teacher: Model) -> None:
    rows = torch.tensor([0, 0, 0])
    empty, with_concept = asked(teacher, X, T, ""), asked(teacher, X, T, "a cat")
    expected = {
        "esd": 2 * empty - with_concept, "sdd": empty, "mim": asked(teacher, X, T, "something"), "ca": asked(teacher, X, T, "a house")
    }  # fmt: skip
    for upper, target in expected.items():
        erasing = erasing_of(student, teacher, upper, anchor="a house")
        told = target if upper != "mim" else asked(teacher, X, T, erasing.bank.pairs[0].masked)
        assert torch.allclose(erasing.target(X, T, rows), told, atol=1e-5), upper
        with torch.no_grad():
            loss = erasing.loss(X, T, rows)
        assert loss.item() == pytest.approx((asked(student, X, T, "a cat") - told).square().mean().item(), rel=1e-4)
    stronger = erasing_of(student, teacher, eta=3.0).target(X, T, rows)
    assert torch.allclose(stronger, empty - 3 * (with_concept - empty), atol=1e-5)


# The run


@pytest.mark.parametrize("mode", ["penalty", "alternating"])
def test_nothing_but_the_student_changes(mode: Any, student: Model, teacher: Model) -> None:
    def state(model: Model, part: str) -> str:
        return digest_tensors(getattr(model.pipeline, part).state_dict())

    kept = [(teacher, "unet"), (teacher, "text_encoder"), (teacher, "vae"), (student, "text_encoder"), (student, "vae")]
    before, own = [state(*each) for each in kept], state(student, "unet")
    parameters = sum(each.numel() for each in student.denoiser.parameters())
    found = train_student(student, teacher, [CAT], Levels(mode), SETTINGS, Run())
    assert [state(*each) for each in kept] == before and state(student, "unet") != own
    assert sum(each.numel() for each in student.denoiser.parameters()) == parameters
    assert not any(each.requires_grad for each in student.denoiser.parameters())
    assert len(found) == 2 and all(each.upper is not None and each.cosine is not None for each in found)
    assert all((each.gap is None) == (mode == "alternating") for each in found)


def test_repairing_alone_comes_nearer_to_the_teacher(student: Model, teacher: Model) -> None:
    def apart() -> float:
        return (asked(student, X, T, "a dog") - asked(teacher, X, T, "a dog")).square().mean().item()

    before = apart()
    found = train_student(
        student, teacher, [], Levels(), DistillSettings(**QUICK | {"steps": 20, "lr": 1e-3, "diffusion_weight": 0.0}), Run()
    )
    assert apart() < 0.8 * before and all(each.upper is None and each.lower is not None for each in found)


def test_the_schedules_count_their_own_steps() -> None:
    one = DistillSettings(**QUICK | {"rounds": 3, "steps": 14, "inner": 6, "every": 5, "warmup": 2})
    assert [rate(one, 1.0, 10, done) for done in (0, 1)] == pytest.approx(
        [0.5, (1 + torch.cos(torch.tensor(torch.pi / 10)).item()) / 2]
    )
    assert rate(one.model_copy(update={"schedule": "constant", "warmup": 4}), 2.0, 10, 1) == 1.0
    penalty, alternating = plan("penalty", one), plan("alternating", one)
    assert sum(penalty.outer(step) for step in range(42)) == 6 and sum(alternating.outer(step) for step in range(42)) == 8
    for made, totals in ((penalty, (36, 6)), (alternating, (42, 8)), (plan("penalty", one, erases=False), (42, 6))):
        for level, total in enumerate(totals):
            assert made.rates[level](total) == pytest.approx(0, abs=1e-12) and made.rates[level](total - 1) > 0


# The verb


def ran(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["distill", *map(str, arguments)])
    assert done.exit_code == code, done.output
    assert code == 0 or done.stderr.count("\n") == 1, done.stderr
    return done.stdout if code == 0 else done.stderr


SETS = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def erased(student_folder: Path, tiny_canvas: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a student that was repaired while a cat was erased."""
    folder = tmp_path_factory.mktemp("erased") / "d"
    printed = ran(student_folder, "--teacher", tiny_canvas, "--erase", "cat", "--upper", "mim", "--out", folder, *SETS)
    assert "loss of erasing" in printed and str(folder) in printed
    return folder


def stopped_in_round_two(stage: str, done: int, total: int) -> None:
    if (stage, done) == ("distilling", 3):
        raise KeyboardInterrupt


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    erased: Path, student_folder: Path, tiny_canvas: Path, tmp_path: Path
) -> None:
    out = tmp_path / "parts"
    given: dict[str, Any] = {"teacher": tiny_canvas, "erase": "cat", "upper": "mim", "settings": QUICK, "out": out}
    with pytest.raises(KeyboardInterrupt) as stopped:
        distill(student_folder, progress=stopped_in_round_two, **given)
    assert "--resume" in stopped.value.__notes__[0] and not out.exists()
    with pytest.raises(FileExistsError, match="holds an unfinished run"):
        distill(student_folder, **given)
    with pytest.raises(ValueError, match=r"belongs to another run \(upper was 'mim', now 'esd'\)"):
        distill(student_folder, resume=True, **given | {"upper": "esd"})
    checkpoint = tmp_path / ".parts.work" / "checkpoint.safetensors"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    with pytest.raises(ValueError, match=r"digest differs.*; delete .* and resume again"):
        distill(student_folder, resume=True, **given)
    checkpoint.write_bytes(content)
    steps: list[int] = []

    def count(stage: str, done: int, total: int) -> None:
        steps.extend([done] * (stage == "distilling"))

    parts, whole = distill(student_folder, resume=True, progress=count, **given), StudentFile.read(erased / "student.json")
    assert steps[0] == 2 and parts.distilled[0].rounds == whole.distilled[0].rounds
    assert parts.model.fingerprint == whole.model.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["parts"]


def test_alternating_goes_on_to_the_same_bits(student_folder: Path, teacher: Model, tmp_path: Path) -> None:
    def weights(run: Run) -> str:
        student = load(student_folder, device="cpu")
        train_student(student, teacher, [CAT], Levels("alternating"), SETTINGS, run)
        return digest_tensors(student.denoiser.state_dict())

    run = Run(checkpoint=tmp_path / "checkpoint.safetensors")
    with pytest.raises(KeyboardInterrupt):
        weights(replace(run, progress=stopped_in_round_two))
    assert run.checkpoint is not None and run.checkpoint.exists() and weights(run) == weights(Run())


def test_what_is_written(erased: Path, student_folder: Path, tiny_canvas: Path, tmp_path: Path) -> None:
    about = StudentFile.read(erased / "student.json")
    learned = about.distilled[0]
    assert about.pruning == StudentFile.read(student_folder / "student.json").pruning
    assert (learned.concepts, learned.mode, learned.upper) == (("object:cat",), "penalty", "mim")
    assert learned.student.fingerprint != about.model.fingerprint and len(learned.rounds) == 2
    made = load(erased, device="cpu")
    assert made.name == about.model.model and made.name.endswith(" distilled without object:cat")
    plain = StableDiffusionPipeline.from_pretrained(erased)
    assert digest_tensors(plain.unet.state_dict()) == digest_tensors(made.denoiser.state_dict())
    shown = CliRunner().invoke(app, ["info", str(erased)], env={"COLUMNS": "300"}).stdout
    assert "taken out: the middle block" in shown and "object:cat erased meanwhile (penalty, mim)" in shown
    assert not (erased / "edit").exists(), "the student has other shapes than its teacher"
    ran(erased, "--teacher", tiny_canvas, "--out", tmp_path / "e", *SETS)
    again = StudentFile.read(tmp_path / "e" / "student.json")
    assert [each.concepts for each in again.distilled] == [("object:cat",), ()] and again.distilled[1].mode is None


def test_the_report_shows_it(erased: Path, tmp_path: Path) -> None:
    page = report(erased.parent, out=tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Student: tiny canvas pruned to 75 % distilled without object:cat" in page
    assert "Pruned from tiny canvas: 74.7 % of 66,844 parameters are left; taken out: the middle block" in page
    losses = StudentFile.read(erased / "student.json").distilled[0].rounds
    assert all(f"{each.upper:.4f}" in page and f"{each.gap:.4f}" in page for each in losses)


def test_a_student_of_its_teachers_shapes_is_an_edit_too(tiny_canvas: Path, tmp_path: Path) -> None:
    ran(tiny_canvas, "--teacher", tiny_canvas, "--erase", "cat", "--mode", "alternating", "--out", tmp_path / "d", *SETS)
    edit, model, made = load_edit(tmp_path / "d" / "edit"), load(tiny_canvas, device="cpu"), load(tmp_path / "d", device="cpu")
    told = model.encode(["a cat"] * 3)
    with edit.applied(model):
        assert torch.allclose(model.predict(X, T, told), made.predict(X, T, told), atol=1e-5)
    assert not torch.allclose(model.predict(X, T, told), made.predict(X, T, told), atol=1e-5)
    assert edit.manifest.method == "distill" and edit.manifest.names == ["object:cat"]
    assert edit.manifest.settings["mode"] == "alternating"  # type: ignore[typeddict-item]
    assert "pass overwrite" in ran(tiny_canvas, "--teacher", tiny_canvas, "--out", tmp_path / "d", code=2)


class TestBadInput:
    def test_names_and_settings(self, student_folder: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        given = (student_folder, "--teacher", tiny_canvas, "--out", tmp_path / "x")
        for more, words in (
            (("--erase", "cta"), "did you mean"),
            (("--erase", "cat", "--erase", "cat"), "named twice"),
            (("--mode", "bilevel"), "mode='bilevel'"),
            (("--upper", "uce"), "upper='uce'"),
            (("--set", "lamda=1"), "unknown setting of distillation: 'lamda'"),
            (("--set", "inner=0"), "inner='0'"),
            (("--set", "preset=ours"), "has no preset 'ours'"),
            (("--set", "retain=masked"), "name a concept to erase with it"),
            (("--erase", "cat", "--set", "rounds=1", "--set", "steps=20"), "nothing would be erased: of 21 steps one erases"),
            (
                ("--erase", "cat", "--mode", "alternating", "--set", "rounds=3", "--set", "steps=3"),
                "of 10 steps one erases, and rounds=3 of steps=3 are fewer; take more, or a smaller every",
            ),
            (("--teacher", tmp_path / "none"), "no such model"),
            (("--out", student_folder / "x"), "never changed"),
        ):
            assert words in ran(*given, *more, code=2), more
        assert not list(tmp_path.iterdir())

    def test_a_model_without_a_unet(self, tiny_sd3: Path, student_folder: Path, tmp_path: Path) -> None:
        assert "needs U-Net" in ran(student_folder, "--teacher", tiny_sd3, "--out", tmp_path / "x", code=2)

    def test_a_student_that_does_not_fit(self, student_folder: Path, tiny_sd2: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        line = ran(student_folder, "--teacher", tiny_sd2, "--out", tmp_path / "x", *SETS, code=2)
        assert "does not fit its teacher" in line and "noise schedules" in line
        assert not list(tmp_path.iterdir())

    def test_blocks_of_other_widths_are_refused_before_anything_is_made(self, teacher: Model, tiny_canvas: Path) -> None:
        other = load(tiny_canvas, device="cpu")
        config = {**other.pipeline.unet.config, "block_out_channels": (16, 16)}
        other.pipeline.unet = type(other.pipeline.unet).from_config(config)
        with pytest.raises(ValueError, match=r"its down_blocks\.0 hands on \(1, 16, 4, 4\), the teacher's \(1, 8, 4, 4\)"):
            check_fits(other, teacher)

    def test_other_words_or_half_precision(self, teacher: Model, tiny_canvas: Path, student: Model) -> None:
        other = load(tiny_canvas, device="cpu")
        with torch.no_grad():
            next(iter(other.pipeline.text_encoder.parameters())).add_(0.1)
        with pytest.raises(ValueError, match="its text_encoder has other weights than the teacher's"):
            check_fits(other, teacher)
        rounded = load(tiny_canvas, device="cpu")
        rounded.pipeline.text_encoder.half().float()
        check_fits(rounded, teacher)
        student.pipeline.unet.to(torch.float16)
        with pytest.raises(ValueError, match="gradients vanish in float16"):
            check_fits(student, teacher)

    @pytest.mark.parametrize("lr", ["1e20", "1e38"])
    def test_a_training_that_diverges_writes_nothing(
        self, lr: str, student_folder: Path, tiny_canvas: Path, tmp_path: Path
    ) -> None:
        line = ran(student_folder, "--teacher", tiny_canvas, "--out", tmp_path / "x", *SETS, "--set", f"lr={lr}", code=1)
        assert "smaller learning rate" in line and not (tmp_path / "x").exists()

    def test_a_damaged_marker(self, student_folder: Path, tiny_canvas: Path, tmp_path: Path) -> None:
        shutil.copytree(student_folder, tmp_path / "student")
        (tmp_path / "student" / "student.json").write_text('{"format": 2, "kind": "student"}')
        line = ran(tmp_path / "student", "--teacher", tiny_canvas, "--out", tmp_path / "y", code=2)
        assert "student.json is not what excise prune or excise distill writes" in line


def test_losses_that_nobody_looked_at_are_left_out(student: Model, teacher: Model) -> None:
    settings = SETTINGS.model_copy(update={"inner": 3})  # of two rounds of two steps the first has none of the upper level
    first, second = train_student(student, teacher, [CAT], Levels(), settings, Run())
    assert (first.upper, first.lower, first.gap) == (None, None, None) and first.repaired is not None
    assert second.upper is not None and second.gap == pytest.approx(second.lower - second.repaired, abs=1)  # type: ignore[operator]
