"""Presets are as published: what papers and releases used, written down from those, not from the code that holds them.

`steps` is the number of gradient steps of the whole run. Learning rates are as they were used, where releases multiply them by batch and GPUs.
"""

from __future__ import annotations

import pytest

from excise.methods import get
from steps import settings_of

ADAM = {"weight_decay": 0.0, "clip": None, "schedule": "constant"}
ADAMW = {"weight_decay": 1e-2, "clip": 1.0, "schedule": "constant"}
GENERATED = {"pictures": 1000, "picture_steps": 25, "picture_guidance": 6.0, "folder": None}

ESD = {
    **ADAM,
    "wording": "name",
    "batch": 1,
    "states": "fresh",
    "sampler_steps": 50,
    "guidance_scale": 3.0,
    "divergence": "mse",
}
ESD_PAPER = {**ESD, "steps": 1000, "lr": 1e-5, "convention": "paper", "eta": 1.0, "sampler": "student", "within_bin": True}
ESD_REWRITE = {**ESD, "steps": 200, "lr": 5e-5, "convention": "rewrite", "eta": 2.0, "sampler": "base", "within_bin": False}
CA = {**ADAMW, **GENERATED, "variant": "model", "detach_start": True}
CA_PAPER = {
    **CA,
    "steps": 100,
    "batch": 4 * 2,
    "lr": 2e-6 * 4 * 2,
    "parameters": "kv",
    "prior_weight": 0.0,
    "teacher": "current",
}
SALUN = {**ADAM, "wording": "name", "batch": 8, "lr": 1e-5, "parameters": "full", "density": 0.5, "mask_guidance": 7.5} | {
    "pictures": 800, "retained": 800
}  # fmt: skip
ERASEDIFF = {**ADAM, "wording": "name", "batch": 16, "lr": 1e-5, "balance": "fixed", "multiplier": 1.0} | {
    "pseudo": "a photo of a pokemon", "pictures": 800, "retained": 800
}  # fmt: skip
DOCO = {**ADAMW, **GENERATED, "wording": "name", "steps": 2000 - 1001, "warm_up": 1001, "batch": 8, "lr": 6e-6 * 8} | {
    "parameters": "kv", "surgery": "released", "surgery_strength": 1.0, "entangled": True, "detach_start": True
}  # fmt: skip
SEPME = {**ADAM, "wording": "name", "steps": 1000, "batch": 1, "pictures": 1000, "beta": 1e-4, "l1": 1e-6} | {
    "tau_unit": "absolute", "accumulate": True
}  # fmt: skip
CLOTHED = "a photo of a person wearing clothes"

PUBLISHED: dict[tuple[str, str], dict[str, object]] = {
    # arXiv 2303.07345: the first code (paper), the diffusers rewrite, and its third script
    ("esd", "paper"): {**ESD_PAPER, "variant": "x"},
    ("esd", "paper-u"): {**ESD_PAPER, "variant": "u"},
    ("esd", "rewrite"): {**ESD_REWRITE, "variant": "x"},
    ("esd", "rewrite-strict"): {**ESD_REWRITE, "variant": "x-strict"},
    ("esd", "alt"): {**ESD_REWRITE, "variant": "all", "sampler": "student", "lr": 2e-5, "convention": "paper"},
    # arXiv 2307.05977 and its release
    ("sdd", "paper"): {
        "wording": "name", "steps": 1500, "batch": 1, "lr": 1e-5, "weight_decay": 1e-4, "clip": 1.0, "schedule": "constant",
        "parameters": "attn2", "decay": 0.999, "output": "teacher", "joined": "states", "states": "fresh", "sampler_steps": 50,
        "guidance_scale": 3.0, "within_bin": True,
    },
    # arXiv 2303.13516, diffusers release: batch 4 on 2 GPUs, doubled once more where the prior is kept; arXiv 2509.21167 for f-dmu
    ("ca", "paper"): CA_PAPER,
    ("ca", "nudity"): {**CA_PAPER, "steps": 400, "lr": 4e-6 * 4 * 2 * 2, "parameters": "attn", "prior_weight": 1.0},
    ("ca", "memorised"): {
        **CA_PAPER, "steps": 400, "batch": 2 * 2, "lr": 5e-7 * 2 * 2 * 2, "parameters": "full", "prior_weight": 1.0,
    },
    ("ca", "f-dmu"): {
        **CA_PAPER, "steps": 500, "batch": 2 * 2, "lr": 7e-5 * 2 * 2, "clip": None, "teacher": "base", "divergence": "hellinger",
        "divergence_sigma": 1.0,
    },
    # arXiv 2310.12508 and its release: epochs of 800 pictures, 8 at a time
    ("salun", "nudity"): {**SALUN, "steps": 800 // 8, "retain_weight": 0.1, "retain": (CLOTHED,), "pseudo": CLOTHED},
    ("salun", "class"): {**SALUN, "steps": 5 * 800 // 8, "retain_weight": 0.5, "pseudo": "next", "retain": "catalog"},
    # arXiv 2401.05779's release, stopped where its authors say that it is enough
    ("erasediff", "nudity"): {**ERASEDIFF, "steps": 160, "parameters": "noxattn", "retain": (CLOTHED,)},
    ("erasediff", "class"): {**ERASEDIFF, "steps": 60, "parameters": "full", "retain": "catalog"},
    # arXiv 2303.17591's release
    ("fmn", "paper"): {
        "wording": "name", "steps": 35, "batch": 1, "lr": 2e-6, "weight_decay": 1e-2, "clip": None, "schedule": "constant",
        "parameters": "full", "end_token": True, "pictures": 8,
    },
    # arXiv 2312.16145 and its release; its learning rate falls three times, here once
    ("spm", "paper"): {
        "wording": "name", "steps": 3000, "batch": 1, "lr": 1e-4, "weight_decay": 1e-2, "clip": None, "schedule": "cosine",
        "states": "fresh", "sampler_steps": 30, "guidance_scale": 3.0, "eta": 1.0, "anchors": 4, "interleaved": True,
        "anchor_weight": 1000.0, "transport": "cosine", "empty_strength": "prompt",
    },
    # arXiv 2405.15304's release: the discriminator alone in steps 0 to 1000 of 2000
    ("doco", "style"): {**DOCO, "critic_lr": 5e-4, "anchor": "painting"},
    ("doco", "instance"): {**DOCO, "critic_lr": 1e-4},
    ("doco", "nudity"): {**DOCO, "critic_lr": 1e-4, "anchor": "clothed"},
    # arXiv 2402.05947: at most as many steps
    ("sepme", "paper"): {**SEPME, "lr": 0.1, "tau": 1e-4, "variant": "separate"},
    ("sepme", "nudity"): {**SEPME, "lr": 1e-5, "tau": 0.0, "l1": 1e-5, "variant": "whole"},
}  # fmt: skip


@pytest.mark.parametrize(("method", "preset"), PUBLISHED)
def test_a_preset_is_as_published(method: str, preset: str) -> None:
    found = settings_of(method, preset=preset).model_dump()
    found["steps"] *= found["rounds"]
    published = PUBLISHED[method, preset]
    expected = {key: pytest.approx(value) if isinstance(value, float) else value for key, value in published.items()}
    assert {key: found[key] for key in expected} == expected


def test_nothing_in_a_preset_is_without_its_published_value() -> None:
    for method in {method for method, _ in PUBLISHED}:
        for preset, values in get(method).settings.presets.items():
            assert set(values) <= {"rounds", *PUBLISHED[method, preset]}, (method, preset)
