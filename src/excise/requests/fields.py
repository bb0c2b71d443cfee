"""The types of what requests have in common: each with its meaning, its range and its default, which stand here alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.fields import FieldInfo

from excise import bounds
from excise.evaluation.picture_counts import Extent
from excise.files import STDOUT, at_home, check_path
from excise.models import drawing
from excise.models.devices import check_device
from excise.models.drawing import Offload


@dataclass(frozen=True)
class Flag:
    """How a field is typed on a command line, where its name and type do not say it.

    name       of the option, such as "--set"; default "--" and the field's name
    short      a second name, such as "-n"
    metavar    what stands for the value in the help; default from the type
    positional whether it is typed without a name
    read       what the typed texts mean; default the texts themselves
    """

    name: str = ""
    short: str = ""
    metavar: str = ""
    positional: bool = False
    read: Callable[[list[str]], Any] | None = None


def flag(field: FieldInfo) -> Flag:
    """The flag of a field."""
    return next((item for item in field.metadata if isinstance(item, Flag)), Flag())


def words(texts: Sequence[str]) -> list[str]:
    """Names in texts, with blanks between.

    >>> words(["mim uce", "esd"])
    ['mim', 'uce', 'esd']
    """
    return [word for text in texts for word in text.split()]


def spaced(name: str) -> str:
    """A concept's name in which "_" stands for a blank.

    >>> spaced("style:pixel_art")
    'style:pixel art'
    """
    return name.replace("_", " ")


def on_disk(path: Path | None) -> Path | None:
    """The file that an option names; None where that is standard output.

    >>> on_disk(Path("-")), on_disk(Path("numbers.json"))
    (None, PosixPath('numbers.json'))
    """
    return None if path == STDOUT else path


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _from_home(value: Any) -> Any:
    """With the home folder for "~", which no shell has replaced in a YAML file or from Python."""
    return at_home(value) if isinstance(value, str | Path) else value


def _proper(value: str) -> str:
    check_path(value)
    return value


def _there(value: str | None) -> str | None:
    check_device(value)
    return value


def _all_there(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        check_device(name)
    if len({name.partition(":")[0] for name in names}) > 1:
        raise ValueError(f"devices that share the learning are of one kind, not {', '.join(names)}")
    twice = [name for name in names if name != "cpu" and names.count(name) > 1]
    if twice:
        raise ValueError(f"{twice[0]} is named twice")
    return names


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | Sequence[str])]
UserPath = Annotated[Path, BeforeValidator(_from_home, json_schema_input_type=str | Path)]
UserPaths = Annotated[
    tuple[UserPath, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | Path | Sequence[str | Path])
]
PathOrName = Annotated[str, BeforeValidator(_text, json_schema_input_type=str | Path), AfterValidator(_proper)]
Count = Annotated[int, Field(ge=1, le=bounds.COUNT)]
Pictures = Annotated[int, Field(ge=1, le=bounds.PICTURES)]
PicturesOrNone = Annotated[int, Field(ge=0, le=bounds.PICTURES)]
Evaluations = Annotated[int, Field(ge=1, le=bounds.EVALUATIONS)]

HowMuch = Annotated[
    Extent,
    Field(
        "quick",
        description="How much is measured, in pictures and nats, if the model brings a classifier and a list of concepts: quick, soon and with "
        "wide intervals; full, as much as the tables have; none.",
    ),
]

ModelName = Annotated[
    PathOrName,
    Field("canvas", description="Built-in name, diffusers folder, .safetensors checkpoint or hub id (owner/name)."),
]
ConfigFrom = Annotated[
    UserPath | None,
    Field(None, description="Of a .safetensors file: diffusers folder that describes it and holds the rest of the model."),
]
BaseName = Annotated[PathOrName | None, Field(None, description="What --model was made from, if it was erased elsewhere.")]
EditFolders = Annotated[UserPaths, Field((), description="Folder of an edit; may be given several times.")]
Scale = Annotated[
    float,
    Field(
        1.0, ge=-bounds.STRENGTH, le=bounds.STRENGTH, description="Strength of the edits: 0 is the base model, 1 as trained."
    ),
]
KindName = Annotated[str | None, Field(None, description="What the concept is: object, member, style, identity or unsafe.")]
SeedNumber = Annotated[int, Field(ge=0, lt=2**32)]
Seed = Annotated[SeedNumber, Field(0, description="Seed of everything random.")]
Steps = Annotated[int | None, Field(None, ge=1, le=bounds.STEPS, description="Steps of the sampler; default the model's.")]
Scheduler = Annotated[
    drawing.Scheduler | None,
    Flag(metavar="CLASS"),
    Field(None, description="Sampler, by the name of its class in diffusers; default the model's."),
]
Device = Annotated[
    str | None, AfterValidator(_there), Field(None, description="cpu, cuda, mps, ...; default the best there is.")
]
Devices = Annotated[
    Names,
    AfterValidator(_all_there),
    Flag(metavar="NAMES", read=words),
    Field((), description="Devices that share the learning, such as 'cuda:0 cuda:1'; each holds the whole model."),
]
Dtype = Annotated[
    Literal["float32", "float16", "bfloat16", "mixed"],
    Field("float32", description="float32, float16, bfloat16, or mixed: float32 weights, bfloat16 arithmetic."),
]
Offloaded = Annotated[
    Offload,
    Field(
        "none",
        description="Where networks wait that no edit changes (autoencoder, language models): none, on the device; model, in the CPU's "
        "memory; group, there, and they work layer by layer.",
    ),
]
Overwrite = Annotated[bool, Field(False, description="Replace an earlier result.")]
JsonFile = Annotated[
    UserPath | None,
    Field(
        None, alias="json", description="Write the measured numbers to this file; - is standard output, and nothing else then."
    ),
]
