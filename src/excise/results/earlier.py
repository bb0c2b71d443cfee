"""Result files of format 1, which had no number, in today's form. Only `excise convert` needs these functions.

Each takes what such a file holds and returns what it holds today; no number changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from excise.results import earlier_audits

Content = Mapping[str, Any]

ACCURACIES = ("ira", "cra", "nra", "ora")
QUALITY = ("fid_base", "kid_base", "pixel_change", "lpips", "fid_real", "kid_real", "clip_score")
RATIOS = ("ira_of_base", "ira_worst", "cra_of_base", "cra_worst")
MEASURED = {
    "ua", "ua_ci", "neutral", "neutral_ci", "erased", "n", "base", "per_concept", "per_target", "variants", "gold", "protocol", *RATIOS,
    *(name for each in (*ACCURACIES, *QUALITY) for name in (each, f"{each}_ci")),
}  # fmt: skip
"""What an evaluation had at the top of a file."""


def kind(content: Content) -> str | None:
    """What a file of format 1 holds, by today's name for it; None for a file of today or of somebody else."""
    if "format" in content:
        return None
    if audited := earlier_audits.kind(content):
        return audited
    if content.get("unit") == "nats per picture":
        return "information"
    if {"entrant", "concepts", "seed"} <= content.keys():
        return "cell"
    if {"conditions", "concept"} <= content.keys():
        return "variation"
    if {"metrics", "protocol"} <= content.keys():
        return "suite"
    if "ua" in content and ("per_target" in content or "concepts" in content):
        return "erasure"
    return "grid" if "model" in content and content.keys() & {"target_pictures", "suite_settings"} else None


def erasure(content: Content) -> dict[str, Any]:
    """A `result.json` of `excise erase`, or numbers of `excise evaluate`."""
    about = {name: content.get(name) for name in ("model", "method", "seed", "dtype", "device", "seconds", "peak_mb")}
    known = {*MEASURED, *about, "concepts", "note", "information", "information_note", "base_fingerprint", "edits", "versions"}
    return {
        **_head("erasure"),
        **about,
        "concepts": list(content.get("concepts") or content.get("per_target") or ()),
        "evaluation": evaluation(content) if content["ua"] is not None else None,
        "note": content.get("note") or "",
        "information": information(content["information"]) if content.get("information") else None,
        "information_note": content.get("information_note") or "",
        "told": {name: value for name, value in content.items() if name not in known},
        "provenance": _provenance(content) if "base_fingerprint" in content else None,
    }


def manifest(content: Content) -> dict[str, Any]:
    """An edit's manifest, whose measurements had the form of a `result.json`; those that it was made on top of too."""
    ledger = [manifest(entry) for entry in content.get("ledger", ())]
    measured = content.get("measurements") or {}
    if "ua" in measured and "format" not in measured:
        run = {name: content.get(name) for name in ("model", "method", "seed", "dtype", "device")}
        labels = [f"{concept['kind']}:{concept['name']}" for concept in content["concepts"]]
        measured = {
            name: value for name, value in erasure({**run, "concepts": labels, **measured}).items() if value is not None
        }
    return {**content, "measurements": measured, **({"ledger": ledger} if "ledger" in content else {})}


def evaluation(content: Content) -> dict[str, Any]:
    """The numbers that an evaluation had at the top of a file."""
    variants, protocol, base = content["variants"], content["protocol"], content["base"]
    counts = {**variants[protocol["variant"]]["n"], "neutral": content["n"]["neutral"]}
    counts |= dict.fromkeys(QUALITY, (protocol.get("quality") or {}).get("n"))
    pictures = {name: content["n"][name] for name in ("target", "retained", "neutral")}
    return {
        **_figures(content, counts),
        "base": _figures(base, counts),
        **{name: content.get(name) for name in RATIOS},
        "targets": [{"concept": label, **shares} for label, shares in content["per_target"].items()],
        "retained": [{"concept": label, **shares} for label, shares in content["per_concept"].items()],
        "variants": [
            {"name": name, "counts": found["counts"], **_figures(found, found["n"])} for name, found in variants.items()
        ],
        "gold": _gold(content["gold"], pictures["target"] + pictures["retained"]) if content.get("gold") else None,
        "protocol": protocol,
        "pictures": pictures,
        "seeds_from": content["n"]["seeds_from"],
    }


def information(content: Content) -> dict[str, Any]:
    """What `excise measure` wrote."""
    found = content.get("provenance")
    return {
        **_head("information"),
        **{name: value for name, value in content.items() if name not in ("provenance", "collateral")},
        "concepts": [_concept_reading(each) for each in content["concepts"]],
        "others": [_concept_reading(each) for each in content["others"]],
        "collateral": _collateral(content["collateral"], "kept") if content["collateral"] else None,
        "settings": _settings(content["settings"]),
        "provenance": _provenance(found) if found else None,
    }


def cell(content: Content) -> dict[str, Any]:
    """A cell of `excise bench`."""
    words, published = content.get("information"), content.get("suite")
    return {
        **_head("cell"),
        **{name: value for name, value in content.items() if name not in MEASURED},
        "evaluation": evaluation(content) if content.get("ua") is not None else None,
        "information": _cell_information(words) if words else None,
        "suite": suite(published) if published else None,
    }


def grid(content: Content) -> dict[str, Any]:
    """The `bench.json` of a folder; what earlier ones did not say was so in all of them."""
    said = {"dtype": "float32", "suite": "canvas", "information": None, **content}
    if said["information"] and said["dtype"] == "mixed":
        said = {"nats": "as the model computes", **said}
    return {**_head("grid"), **said}


def suite(content: Content) -> dict[str, Any]:
    """What `excise suite run` wrote."""
    metrics = {
        part: {name: _suite_figure(found) for name, found in figures.items()} for part, figures in content["metrics"].items()
    }
    return {**_head("suite"), **content, "metrics": metrics, "detail": _deep(content["detail"])}


def variation(content: Content) -> dict[str, Any]:
    """What `excise vary` wrote."""
    rows = []
    for row in content["conditions"]:
        shares = {
            who: {"value": row[who]["value"], **_ends(row[who]["ci"]), "n": row["n"]} for who in ("base", "edited", "neutral")
        }
        rows.append({**row, **shares})
    return {**_head("variation"), "concept": content["concept"], "provenance": _provenance(content), "conditions": rows}


CONVERTERS: dict[str, Callable[[Content], dict[str, Any]]] = {
    "erasure": erasure, "information": information, "cell": cell, "grid": grid, "suite": suite, "variation": variation,
    **earlier_audits.CONVERTERS,
}  # fmt: skip
"""By what `kind` finds."""


def _head(name: str) -> dict[str, Any]:
    return {"format": 2, "kind": name}


def _provenance(content: Content) -> dict[str, Any]:
    return {name: content[name] for name in ("model", "base_fingerprint", "edits", "seed", "dtype", "device", "versions")}


def _figures(content: Content, counts: Mapping[str, int]) -> dict[str, Any]:
    """Every figure that stood as NAME and NAME_ci."""
    return {
        name: {"value": content[name], **_ends(content.get(f"{name}_ci")), "n": counts[name]}
        for name in ("ua", "neutral", *ACCURACIES, *QUALITY)
        if content.get(name) is not None
    }


def _ends(interval: Any) -> dict[str, float]:
    return {} if not interval or None in interval else {"low": interval[0], "high": interval[1]}


def _gold(content: Content, pictures: int) -> dict[str, Any]:
    base = content.get("base")
    return {
        "target": content["target"],
        "kept": content["kept"],
        "fid": {"value": content["fid"], **_ends(content["fid_ci"]), "n": pictures},
        "base": _gold(base, pictures) if base else None,
        "fingerprint": content.get("fingerprint"),
    }


def _defined(estimate: Any) -> dict[str, Any] | None:
    """None for what said that it is undefined, or whose value was not finite."""
    return None if not isinstance(estimate, Mapping) or estimate["value"] is None else dict(estimate)


def _named(estimates: Content) -> list[dict[str, Any]]:
    return [{"concept": label, **found} for label, estimate in estimates.items() if (found := _defined(estimate))]


def _collateral(content: Content, kept: str) -> dict[str, Any]:
    return {"mean": _defined(content["mean"]), "worst": _defined(content["worst"]), "kept": _named(content[kept])}


def _settings(content: Content) -> dict[str, Any]:
    precision = content.get("precision")
    if isinstance(precision, Mapping):  # once other concepts were asked in another one
        precision = ", ".join(f"{who} in {how}" for who, how in precision.items())
    return {**content, "precision": precision}


def _concept_reading(content: Content) -> dict[str, Any]:
    return {
        **content,
        **{name: _reading(content[name]) for name in ("conditional", "unconditional")},
        **{name: _defined(content.get(name)) for name in ("destruction", "rest_loss")},
        "curve": _curve(content.get("curve")),
    }


def _reading(content: Content) -> dict[str, Any]:
    edited = content.get("edited")
    return {
        "base": _forms(content["base"]),
        "edited": _forms(edited) if edited else None,
        "share_left": _defined(content.get("share_left")),
        "steering": _defined(content.get("steering_direct")),
        "alignment": _defined(content.get("alignment")),
    }


def _forms(content: Content) -> dict[str, Any]:
    return {
        "orthogonal": _defined(content["orthogonal"]),
        "plain": _defined(content["plain"]),
        "steering": _defined(content["steering_blind"]),
        "floor": content["floor"],
        "at_floor": content["at_floor"],
    }


def _curve(content: Content | None) -> dict[str, Any] | None:
    if not content:
        return None
    forms = ("orthogonal", "plain")
    models = {model: {form: content.get(f"{model} {form}") for form in forms} for model in ("base", "edited")}
    return {"edges": content["log_snr_edges"], **{model: found for model, found in models.items() if found["plain"]}}


def _cell_information(content: Content) -> dict[str, Any]:
    kept = content["kept"]
    profiles = [{**each, "curve": _curve(each.get("curve"))} for each in content.get("readings", ())]
    return {
        **{name: value for name, value in content.items() if name != "readings"},
        **{name: _nats_left(content[name]) for name in ("nats", "whole_prompt")},
        "destruction": _defined(content["destruction"]),
        "steering": _defined(content["steering"]),
        "kept": _collateral(kept, "concepts") if kept else None,
        "steering_of_others": _named(kept.get("steering", {})) if kept else [],
        "settings": _settings(content["settings"]),
        "profiles": profiles,
    }


def _nats_left(content: Content) -> dict[str, Any]:
    return {**{name: _defined(content[name]) for name in ("base", "left", "share_left")}, "at_floor": content["at_floor"]}


def _suite_figure(content: Content) -> dict[str, Any] | None:
    return None if content["value"] is None else {"value": content["value"], **_ends(content["ci95"]), "n": content["n"]}


def _deep(value: Any) -> Any:
    """Details of a suite, the figures in it in today's form."""
    if isinstance(value, Mapping):
        return (
            _suite_figure(value)
            if value.keys() == {"value", "n", "ci95"}
            else {key: _deep(each) for key, each in value.items()}
        )
    return [_deep(each) for each in value] if isinstance(value, list) else value
