"""Names of models and the files that describe them, without loading any weight (no torch here)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from excise import bounds
from excise.concepts import GENERIC_TEMPLATES, Catalog, Concept, Kind, check_template
from excise.files import as_record, at_home, check_path, read_json
from excise.models.built_in import BUILT_IN, built_in
from excise.models.bystanders import Bystander, read_bystanders
from excise.models.drawing import Scheduler, check_samples
from excise.models.quantised import check_config
from excise.quoting import cut, quoted

INDEX = "model_index.json"

MODEL_FILES = (
    r"model_index\.json|excise\.json|(classifier|places)\.safetensors|README\.md|LICEN[CS]E(\.md|\.txt)?|"
    r"(unet|vae|text_encoder(_2|_3)?|tokenizer(_2|_3)?|transformer|scheduler|safety_checker|feature_extractor|image_encoder)"
    r"/[^/]+\.(json|safetensors|txt|model)"
)
"""A pattern of the files that a model's folder has, by their names in it."""

Phrase = Annotated[str, Field(min_length=1, max_length=bounds.NAME)]
Template = Annotated[str, Field(max_length=bounds.CHARACTERS), AfterValidator(check_template)]


def _in_its_folder(name: str) -> str:
    if Path(name).name != name or "\\" in name:
        raise ValueError("the classifier must lie in the model's own folder")
    return name


class ModelIndex(BaseModel):
    """What is read of a `model_index.json`: which pipeline it is, and of each part its library and class."""

    model_config = ConfigDict(extra="allow", defer_build=True)
    __pydantic_extra__: dict[str, JsonValue]

    class_name: str = Field(alias="_class_name", max_length=bounds.NAME)


class SchedulerPath(BaseModel):
    """What is read of a scheduler's config: which paths it samples."""

    model_config = ConfigDict(defer_build=True)

    class_name: str = Field("", alias="_class_name", max_length=bounds.NAME)
    prediction_type: str = Field("", max_length=bounds.NAME)


class DeclaredConcept(BaseModel):
    """A concept in an `excise.json`, with the phrases that name it, the plain one first."""

    name: Phrase
    kind: Kind
    phrases: list[Phrase] = Field(min_length=1)


class DeclaredBystander(BaseModel):
    """A thing in an `excise.json` that no method is told of, with the classifier's head and class that recognise it."""

    name: Phrase
    phrases: list[Phrase] = Field(min_length=1)
    head: Phrase
    shown: Phrase = Field("", alias="class", description="The name, if it is not given.")


class DeclaredSampler(BaseModel):
    """How pictures of the model are made by default; what is not given is the pipeline's own."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)

    steps: int = Field(50, ge=1, le=bounds.STEPS)
    guidance_scale: float = Field(7.5, ge=-bounds.STRENGTH, le=bounds.STRENGTH)
    size: int = Field(512, ge=1, le=bounds.EDGE)


class ModelDescription(BaseModel):
    """What is read of an `excise.json`; other keys are left alone."""

    name: Phrase
    concepts: list[DeclaredConcept] = Field([], max_length=bounds.CONCEPTS)
    bystanders: list[DeclaredBystander] = Field([], max_length=bounds.CONCEPTS)
    templates: list[Template] = Field(list(GENERIC_TEMPLATES), min_length=1)
    held_out_templates: list[Template] = []
    sampler: DeclaredSampler = DeclaredSampler()
    classifier: Annotated[str, AfterValidator(_in_its_folder)] | None = None
    without: list[Phrase] = []


@dataclass(frozen=True)
class Description:
    """What a model folder's `excise.json` says: name, concepts, default sampler, classifier file, what it was trained without, bystanders."""

    name: str
    catalog: Catalog
    sampler: dict[str, Any]
    classifier: Path | None
    without: tuple[str, ...] = ()
    bystanders: tuple[Bystander, ...] = ()


def resolve(model: str | Path) -> Path | str:
    """The path that a model name or path means, or the name unchanged if it is a hub id ("owner/name").

    Raises FileNotFoundError when it is neither, with what to do.
    """
    if str(model) in BUILT_IN:
        return built_in(str(model))
    check_path(model)
    path = at_home(model)
    if path.exists():
        return path
    text = str(model)
    if text.count("/") == 1 and not text.startswith((".", "/", "~")) and not text.endswith(".safetensors"):
        return text
    raise FileNotFoundError(
        f"no such model: {quoted(text)} is not a file or folder here; built in: {', '.join(BUILT_IN)}; for the hub write owner/name"
    )


def model_index(where: Path | str) -> dict[str, Any]:
    """What `model_index.json` says of a diffusers folder or a hub id ("owner/name"): which pipeline it is (`_class_name`), of which parts.

    Raises FileNotFoundError if the hub does not give it, ValueError for a folder without it, or a damaged one.
    """
    path = where / INDEX if isinstance(where, Path) else _from_hub(where)
    if not path.is_file():
        raise ValueError(f"{where} is not a model folder: it has no {INDEX}")
    found: dict[str, Any] = read_json(path)
    as_record(found, ModelIndex, path, "the index of a model")
    check_config(path, found)
    return found


def _from_hub(model: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    try:
        return Path(hf_hub_download(model, INDEX))
    except (OSError, EntryNotFoundError, HFValidationError) as error:
        why = cut(str(error))
        raise FileNotFoundError(
            f"no such model: {quoted(model)} is no folder here, and the hub gives no {INDEX} of it ({why})"
        ) from None


def describe(folder: Path | str) -> Description:
    """Read `excise.json` of a model folder; a model without one takes any concept and has no classifier.

    Raises ValueError if the file is there but is not what it should be.
    """
    path = Path(folder) / "excise.json"
    if not path.is_file():
        return Description(Path(folder).name or str(folder), Catalog(), {}, None)
    data = read_json(path)
    told = as_record(data, ModelDescription, path, "a model description")
    try:
        catalog = Catalog.from_dict(data)
        bystanders = read_bystanders(data.get("bystanders", []), catalog)
    except ValueError as error:
        raise ValueError(f"{path} is not a model description: {error}") from None
    classifier = None if told.classifier is None else path.parent / told.classifier
    return Description(told.name, catalog, dict(data.get("sampler", {})), classifier, tuple(told.without), bystanders)


def check_scheduler(where: Path | str, scheduler: Scheduler | None) -> None:
    """Raise ValueError for a sampler of other paths than those of a model, as far as its folder says which these are."""
    path = Path(where) / "scheduler" / "scheduler_config.json"
    if scheduler is not None and path.is_file():
        own = as_record(read_json(path), SchedulerPath, path, "a scheduler's config")
        check_samples(scheduler, own.prediction_type == "flow_prediction" or own.class_name.startswith("FlowMatch"))


def check_never_saw(model: str | Path, concept: Concept) -> None:
    """Raise ValueError if a model says that it was trained without others than this concept, FileNotFoundError if there is none."""
    without = describe(resolve(model)).without
    if without and not {concept.label, concept.name} & set(without):
        raise ValueError(
            f"{quoted(str(model))} was trained without {cut(', '.join(without))}; it is no gold standard of erasing {concept.name}"
        )
