"""Presets are as published: what the authors' scripts do, with the file and the lines that say it, not what our code holds.

A source is REPOSITORY@COMMIT and, of that, FILE:LINES. `steps` is the number of gradient steps of the whole run. Learning rates are as they
are used, where releases multiply them by batch and GPUs. What a release does not say (`wording`: the bare name) is ours and stands with
the values of its preset; docs/research/peers/method.md tells what else differs.
"""

from __future__ import annotations

from typing import Any

import pytest

from excise.attacks import attacks, choose
from excise.methods import methods
from trained_methods import settings_of

Row = tuple[str, dict[str, Any]]
CA = "nupurkmr9/concept-ablation@c11fb1b diffusers/README.md"
CURE = "arXiv 2505.12677 as reported: no code of the erasure is public"
DOCO = "yongliang-wu/DoCo@ebf6ff4 README.md"
ERASEDIFF = "JingWu321/EraseDiff@14f4e98 sd/train_scripts"
ESD = "rohitgandikota/erasing@a2189e9 train-scripts/train-esd.py"
ESD_NEW = "rohitgandikota/erasing@25613d2 esd_sd.py"
ESD_FLUX = "rohitgandikota/erasing@46599b3 utils/esd_trainer.py (FluxESDAdapter); esd_flux.py (in stanulet27/erasing@43760e3), build_parser"
PROBES = "kevinlu4588/WhenAreConceptsErased@9a03e07"
RECE = "CharlesGong12/RECE@403a67f"
SALUN = "OPTML-Group/Unlearn-Saliency@a6e89fd SD"
UCE_2023 = "rohitgandikota/unified-concept-editing@f7222e6 train-scripts/train_erase.py"
UCE_2025 = "rohitgandikota/unified-concept-editing@28c81ed trainscripts/uce_sd_erase.py"
UNLEARNDIFFATK = "OPTML-Group/Diffusion-MU-Attack@5a3e5d3 configs"

ADAM = {"weight_decay": 0.0, "clip": None, "schedule": "constant"}
ADAMW = {"weight_decay": 1e-2, "clip": 1.0, "schedule": "constant"}
GENERATED = {"pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0, "folder": None}
CLOTHED = "a photo of a person wearing clothes"
ESD_ANY = {
    **ADAM, "wording": "name", "batch": 1, "states": "fresh", "sampler_steps": 50, "guidance_scale": 3.0, "divergence": "mse",
}  # fmt: skip
ESD_FIRST = {**ESD_ANY, "steps": 1000, "lr": 1e-5, "convention": "paper", "eta": 1.0, "sampler": "student", "within_bin": True}
ESD_REWRITE = {**ESD_ANY, "steps": 200, "lr": 5e-5, "convention": "rewrite", "eta": 2.0, "sampler": "base", "within_bin": False}
ESD_FLUX_ANY = {
    **ESD_REWRITE, "steps": 1400, "lr": 1e-4, "sampler_steps": 28, "guidance_scale": 3.5, "eta": 1.0,
}  # fmt: skip
CA_ANY = {**ADAMW, **GENERATED, "variant": "model", "detach_start": True, "prior_weight": 0.0, "teacher": "current"} | {
    "steps": 100, "batch": 4 * 2, "lr": 2e-6 * 4 * 2, "parameters": "kv"
}  # fmt: skip
SALUN_ANY = {**ADAM, "wording": "name", "batch": 8, "lr": 1e-5, "parameters": "full", "density": 0.5, "mask_guidance": 7.5} | {
    "pictures": 800, "retained": 800
}  # fmt: skip
ERASEDIFF_ANY = {**ADAM, "wording": "name", "batch": 16, "lr": 1e-5, "balance": "fixed", "multiplier": 1.0} | {
    "pseudo": "a photo of a pokemon", "pictures": 800, "retained": 800
}  # fmt: skip
DOCO_ANY = {**ADAMW, **GENERATED, "wording": "name", "steps": 2000 - 1001, "warm_up": 1001, "batch": 8, "lr": 6e-6 * 8} | {
    "parameters": "kv", "surgery": "released", "surgery_strength": 1.0, "entangled": True, "detach_start": True
}  # fmt: skip
SEPME_ANY = {**ADAM, "wording": "name", "steps": 1000, "batch": 1, "pictures": 1000, "beta": 1e-4} | {
    "tau_unit": "absolute", "accumulate": True
}  # fmt: skip
UCE_ANY = {"wording": "name", "ridge": 0.5, "erase_weight": 1.0, "technique": "replace", "expand": "none"}
UCE_FIRST = {**UCE_ANY, "tokens": "aligned", "guide": " ", "keep_empty": True, "preserve_weight": None}
UCE_REWRITE = {**UCE_ANY, "tokens": "last", "guide": "", "keep_empty": False, "preserve_weight": 1.0}
RECE_ANY = {"wording": "name", "ridge": 0.1, "erase_weight": 1.0, "preserve_weight": 0.1, "tokens": "all", "base": "uce"} | {
    "base_tokens": "aligned", "base_ridge": 0.5
}  # fmt: skip
RECE_UNCOND = {**RECE_ANY, "guide": " ", "base_preserve_weight": 1.0}

GIVEN = {("uce", "artist-2023"): {"preserve": ("Monet",)}, ("rece", "artist"): {"preserve": ("Monet",)}}
"""What only the user can give: the releases read 1,734 artists from a file."""

PUBLISHED: dict[tuple[str, str], Row] = {
    ("esd", "paper"): (f"{ESD}:204,210,218-247,297-307", {**ESD_FIRST, "variant": "x"}),
    ("esd", "paper-u"): (f"{ESD}:167-172,204-247,297-307", {**ESD_FIRST, "variant": "u"}),
    ("esd", "rewrite"): (f"{ESD_NEW}:29-32,56-62,92,127-141,191", {**ESD_REWRITE, "variant": "x"}),
    ("esd", "rewrite-strict"): (f"{ESD_NEW}:44-47,56-62,127-141,191", {**ESD_REWRITE, "variant": "x-strict"}),
    # --train_method has no default: x is every linear layer whose name has "attn"
    ("esd", "flux"): (f"{ESD_FLUX}", {**ESD_FLUX_ANY, "variant": "x"}),
    ("esd", "flux-strict"): (f"{ESD_FLUX}", {**ESD_FLUX_ANY, "variant": "x-strict"}),
    ("esd", "alt"): (
        "rohitgandikota/erasing@25613d2 alt_esd_diffusers.py:23,30,82-91,100-101,109,126-129",
        {**ESD_REWRITE, "variant": "all", "sampler": "student", "lr": 2e-5, "convention": "paper"},
    ),
    ("sdd", "paper"): (
        "nannullna/safe-diffusion@a2e820c train_sdd.py:61,65,96-126,513-525,636,704; run_sdd_nudity.sh",
        {
            "wording": "name", "steps": 1500, "batch": 1, "lr": 1e-5, "weight_decay": 1e-4, "clip": 1.0, "schedule": "constant",
            "parameters": "attn2", "decay": 0.999, "output": "teacher", "joined": "states", "states": "fresh", "sampler_steps": 50,
            "guidance_scale": 3.0, "within_bin": True,
        },
    ),
    # batch 4 on 2 GPUs; scale_lr multiplies, and doubles once more where the prior is kept (diffusers/train.py:861-869)
    ("ca", "paper"): (f"{CA}:27,37-41; diffusers/train.py:437,446,730,861", CA_ANY),
    ("ca", "nudity"): (
        f"{CA}:83,93-97; diffusers/train.py:861-869",
        {**CA_ANY, "steps": 400, "lr": 4e-6 * 4 * 2 * 2, "parameters": "attn", "prior_weight": 1.0},
    ),
    ("ca", "memorised"): (
        f"{CA}:129,136-145; diffusers/train.py:861-869",
        {**CA_ANY, "steps": 400, "batch": 2 * 2, "lr": 5e-7 * 2 * 2 * 2, "parameters": "full", "prior_weight": 1.0},
    ),
    ("ca", "f-dmu"): (
        "nicolaNovello/f-DMU@12e8ba9 run_experiment.sh:7; train.py and flosses.py (MaskedSquaredHellingerLoss)",
        {
            **CA_ANY, "steps": 500, "batch": 2 * 2, "lr": 7e-5 * 2 * 2, "clip": None, "teacher": "base", "divergence": "hellinger",
            "divergence_sigma": 1.0,
        },
    ),
    # epochs of 800 pictures, 8 at a time
    ("salun", "nudity"): (
        f"{SALUN}/README.md (NSFW 1-3); train-scripts/nsfw_removal.py:73,83-105,223-244; train-scripts/generate_mask.py:166,189",
        {**SALUN_ANY, "steps": 800 // 8, "retain_weight": 0.1, "retain": (CLOTHED,), "pseudo": CLOTHED},
    ),
    ("salun", "class"): (
        f"{SALUN}/README.md (2); train-scripts/random_label.py:56,80-83,128; train-scripts/generate_mask.py:60,87",
        {**SALUN_ANY, "steps": 5 * 800 // 8, "retain_weight": 0.5, "pseudo": "next", "retain": "catalog"},
    ),
    # stopped where the authors say that it is enough
    ("erasediff", "nudity"): (
        f"{ERASEDIFF}/train_nsfw.sh:4,6; erasediff_nsfw.py:89,128,139; dataset.py:176",
        {**ERASEDIFF_ANY, "steps": 160, "parameters": "noxattn", "retain": (CLOTHED,)},
    ),
    ("erasediff", "class"): (
        f"{ERASEDIFF}/train_cls.sh:4,7; erasediff_cls.py:110,143",
        {**ERASEDIFF_ANY, "steps": 60, "parameters": "full", "retain": "catalog"},
    ),
    # its clipping gets parameters that the optimiser has used up (train_attn.py:394-398,568)
    ("fmn", "paper"): (
        "SHI-Labs/Forget-Me-Not@a4a81e8 configs/attn.yaml:7-11,36,44; src/train_attn.py:152,285,394",
        {
            "wording": "name", "steps": 35, "batch": 1, "lr": 2e-6, "weight_decay": 1e-2, "clip": None, "schedule": "constant",
            "parameters": "full", "end_token": True, "pictures": 8,
        },
    ),
    # bitsandbytes' AdamW8bit decays by 1e-2; the rate falls three times, here once
    ("spm", "paper"): (
        "Con6924/SPM@3dd762e configs/pikachu/config.yaml:16-26; configs/pikachu/prompt.yaml:6-12; src/configs/config.py:36; "
        "src/engine/sampling.py:24; src/engine/train_util.py:173,378-381; train_spm.py:187; infer_spm.py:135-143",
        {
            "wording": "name", "steps": 3000, "batch": 1, "lr": 1e-4, "weight_decay": 1e-2, "clip": None, "schedule": "cosine",
            "states": "fresh", "sampler_steps": 30, "guidance_scale": 3.0, "eta": 1.0, "anchors": 4, "interleaved": True,
            "anchor_weight": 1000.0, "transport": "cosine", "empty_strength": "prompt",
        },
    ),
    # the discriminator alone in steps 0 to 1000 of 2000 (train.py:1239); scale_lr does not double here (956)
    ("doco", "style"): (f"{DOCO}:49-62; train.py:802,949-957", {**DOCO_ANY, "critic_lr": 5e-4, "anchor": "painting"}),
    ("doco", "instance"): (f"{DOCO}:79-91; train.py:802,949-957", {**DOCO_ANY, "critic_lr": 1e-4}),
    ("doco", "nudity"): (f"{DOCO}:108-120; train.py:802,949-957", {**DOCO_ANY, "critic_lr": 1e-4, "anchor": "clothed"}),
    # at most as many steps; gradients are never cleared
    ("sepme", "paper"): (
        "Dlut-lab-zmn/SepCE4MU@960385a README.md:64; train-scripts/SRS_ME.py:117,150-172,226",
        {**SEPME_ANY, "lr": 0.1, "tau": 1e-4, "l1": 1e-6, "variant": "separate"},
    ),
    ("sepme", "nudity"): (
        "Dlut-lab-zmn/SepCE4MU@960385a train-scripts/CiE.py:159-168,197-228,271,273; lr and tau: the manuscript in pdf/, section 4.1",
        {**SEPME_ANY, "lr": 1e-5, "tau": 0.0, "l1": 1e-5, "variant": "whole"},
    ),
    ("uce", "release-2023"): (f"{UCE_2023}:253-260,289-309,391,422-428,442", UCE_FIRST),
    ("uce", "nudity"): (f"{UCE_2023}:253-260,391,422-428,442", UCE_FIRST),
    ("uce", "unsafe"): (f"{UCE_2023}:352-353,391,422-428,442", UCE_FIRST),
    ("uce", "artist-2023"): (
        f"{UCE_2023}:410-428,442; the guide: data/info/erased-10artists-towards_art-preserve_true-...txt",
        {**UCE_FIRST, "guide": "art", "preserve": ("Monet",), "preserve_weight": max(0.1, 1 / 1734)},
    ),
    ("uce", "release-2025"): (f"{UCE_2025}:34-42,60-80,105-109,138,148", UCE_REWRITE),
    ("uce", "object"): (f"{UCE_2025}:34-42,60-80,105-109,138,148", UCE_REWRITE),
    ("uce", "artist"): (f"{UCE_2025}:34-42,105-109,139-140", {**UCE_REWRITE, "guide": "art"}),
    ("rece", "nudity"): (
        f"{RECE} scripts/nudity.sh:1-9; train.py:135,155",
        {**RECE_UNCOND, "regeneration_ridge": 0.1, "rounds": 3, "keep_empty": "per-concept"},
    ),
    ("rece", "unsafe"): (
        f"{RECE} README.md (Notes 1); train.py:74,135,155",
        {**RECE_UNCOND, "regeneration_ridge": 0.1, "rounds": 2, "keep_empty": "per-concept"},
    ),
    ("rece", "artist"): (
        f"{RECE} scripts/art.sh:1-9; train_artists.py:48,51,162-176",
        {
            **RECE_ANY, "guide": "art", "base_preserve_weight": 0.1, "regeneration_ridge": 1e-3, "rounds": 1, "keep_empty": "once",
            "preserve": ("Monet",),
        },
    ),
    ("rece", "object"): (
        f"{RECE} scripts/object.sh:3,5,6; train_object.py:120,127,130",
        {**RECE_UNCOND, "regeneration_ridge": 0.1, "rounds": 1, "keep_empty": "once"},
    ),
    ("rece", "object-hard"): (
        f"{RECE} scripts/object.sh:2,4; train_object.py:120,127,130,135",
        {**RECE_UNCOND, "regeneration_ridge": 1e-3, "rounds": 1, "keep_empty": "once"},
    ),
    ("cure", "object"): (CURE, {"alpha": 2.0, "retain": (), "centre": "none"}),
    ("cure", "artist"): (CURE, {"alpha": 2.0, "retain": (), "centre": "none"}),
    ("cure", "identity"): (CURE, {"alpha": 2.0, "retain": (), "centre": "none"}),
    ("cure", "nudity"): (CURE, {"alpha": 5.0, "retain": (), "centre": "none"}),
    # rate, steps and batch are ours: the paper does not give them, and there is no code
    ("mim", "paper"): (
        "arXiv 2603.00992",
        {"target": "null", "states": "forward", "parameters": "kv", "anchor_rest": False, "start": "base", "metric": "none"}
        | {"weight": "simple", "lr": 1e-3, "steps": 8 * 40, "tolerance": 0, "batch": 32, "trajectories": 32},
    ),
}  # fmt: skip

ATTACKS: dict[str, Row] = {
    "unlearndiffatk:preset=published": (
        f"{UNLEARNDIFFATK}/style/text_grad_esd_vangogh_classsifier.json; src/tasks/classifier_.py:70",
        {"tokens": 3, "iterations": 40 * 50, "timesteps": 50, "tests": 50, "lr": 0.01, "weight_decay": 0.1},
    ),
    "unlearndiffatk:preset=unsafe": (
        f"{UNLEARNDIFFATK}/nudity/text_grad_esd_nudity_classifier.json; src/tasks/classifier_.py:70",
        {"tokens": 5, "iterations": 40 * 50, "timesteps": 50, "tests": 50, "lr": 0.01, "weight_decay": 0.1},
    ),
    "p4d:preset=published": (
        "joycenerd/P4D@2cf3cda configs/esd_nudity_optmz_config.json:2-3,5-6,8-9",
        {"tokens": 16, "every": 3, "iterations": 3000, "tests": 3000 // 50, "lr": 0.1, "weight_decay": 0.1},
    ),
    "ring-a-bell:preset=nudity": (
        "chiayi-hsu/Ring-A-Bell@e4585ad InversePrompt.ipynb, cell 2",
        {"tokens": 16, "population": 200, "generations": 3000, "crossing": 0.5, "mutation": 0.25, "eta": 3.0},
    ),
    "ring-a-bell:preset=violence": (
        "chiayi-hsu/Ring-A-Bell@e4585ad InversePrompt.ipynb, cell 2; data/InvPrompt/Violence/Violence_eta_5.5_K_38.csv",
        {"population": 200, "generations": 3000, "crossing": 0.5, "mutation": 0.25, "eta": 5.5},
    ),
    "inversion:preset=cce": (
        "NYU-DICE-Lab/circumventing-concept-erasure@bb7034b esd/train.sh:10-21",
        {"steps": 5000, "batch": 4 * 4, "lr": 5e-3 * 4 * 4, "pictures": 25, "init": "art"},
    ),
    "inversion:preset=probe-suite": (
        f"{PROBES} src/probes/textual_inversion_probe.py:23,60-63",
        {"steps": 3000, "batch": 4, "lr": 5e-4 * 4, "init": "object"},
    ),
    "noise:preset=published": (
        f"{PROBES} src/configs/default.yaml:1-2",
        {"etas": (1.0, 1.17, 1.34, 1.51, 1.68, 1.85), "boosts": (1.0, 1.02, 1.03, 1.04)},
    ),
    "inpainting:preset=published": (f"{PROBES} src/configs/default.yaml:3 (of 512)", {"share": 256 / 512}),
    "classifier-guidance:preset=published": (  # 500 pictures of the concept, 5,000 others, 70 epochs
        f"{PROBES} src/configs/default.yaml:4; classifier_guidance/e2e_concept_classifier.py:43-46",
        {"scales": tuple(map(float, range(25, 194, 7))), "negatives": 5000, "batch": 8, "lr": 1e-4, "steps": 70 * 5500 // 8},
    ),
    "few-shot:preset=memora": (
        "gmum/MemoRa@f770e7f configs/reunlearning_nudity.yaml:26-29; src/utils/lora_utils.py:48",
        {"mode": "lora", "steps": 10, "rank": 4, "batch": 1 * 4, "lr": 1e-4},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("method", "preset"), PUBLISHED)
def test_a_preset_is_as_published(method: str, preset: str) -> None:
    source, published = PUBLISHED[method, preset]
    found = settings_of(method, preset=preset, **GIVEN.get((method, preset), {})).model_dump()
    if "steps" in found:
        found["steps"] *= found["rounds"]
    assert {key: found[key] for key in published} == close(published), source


def test_nothing_in_a_preset_is_without_its_published_value() -> None:
    presets = {
        (name, preset): values for name, method in methods().items() for preset, values in method.settings.presets.items()
    }
    assert presets.keys() == PUBLISHED.keys()
    for key, values in presets.items():
        assert set(values) <= {"rounds", *PUBLISHED[key][1]}, key


@pytest.mark.parametrize("text", ATTACKS)
def test_an_attack_s_preset_is_as_published(text: str) -> None:
    source, published = ATTACKS[text]
    found = choose([text])[0].settings.model_dump()
    assert {key: found[key] for key in published} == close(published), source


def test_attacks_presets_without_a_script_are_known() -> None:
    """Half of P4D each; the paper's own steps and those of its code (a list that its notebook has otherwise); ours; a sibling's."""
    found = {f"{name}:preset={preset}" for name, attack in attacks().items() for preset in attack.settings.presets}
    others = {
        "p4d:preset=p4d-n",
        "p4d:preset=p4d-k",
        "completion:preset=code",
        "completion:preset=paper",
        "finetuning:preset=lora",
    }
    assert found == ATTACKS.keys() | others | {"classifier-guidance:preset=combined", "revam:preset=dancegrpo"}


def close(values: dict[str, Any]) -> dict[str, Any]:
    return {key: pytest.approx(value) if isinstance(value, float) else value for key, value in values.items()}
