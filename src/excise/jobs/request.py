"""The one schema of an erasure: flags, YAML file and Python arguments have these names, defaults and checks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from excise.hints import nearest
from excise.methods import Method
from excise.settings import parse


def _one_or_more(value: Any) -> Any:
    return (value,) if isinstance(value, str | Path) else value


def _at_home(path: Path) -> Path:
    """With the home folder for "~", which no shell has replaced in a YAML file or from Python."""
    return Path(os.path.expanduser(path))


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
UserPath = Annotated[Path, AfterValidator(_at_home)]
Paths = Annotated[tuple[UserPath, ...], BeforeValidator(_one_or_more)]
Dtype = Literal["float32", "float16", "bfloat16", "mixed"]


class EraseRequest(BaseModel):
    """What to erase, from which model, how, and where the result goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concepts: Names = Field((), description="what to erase: cat, style:sketch, member:owl, or free text")
    kind: str | None = Field(None, description="what the concepts are, where the model does not know")
    also: Names = Field((), description="further phrases that name the concept")
    model: str = Field("canvas", description="built-in name, diffusers folder, .safetensors checkpoint or hub id")
    method: str = Field("mim", description="erasure method")
    harden: Paths = Field((), description="audits of earlier edits, whose finds are erased too")
    out: UserPath | None = Field(None, description="folder for the result")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of everything random")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    resume: bool = Field(False, description="go on with the run that was stopped")
    overwrite: bool = Field(False, description="replace an earlier result")
    evaluate: bool = Field(True, description="measure base and edited model")
    measure: bool = Field(True, description="measure what the words still say, in nats")
    device: str | None = Field(None, description="cpu, cuda, mps, ...; default the best there is")
    dtype: Dtype = Field("float32", description="float32, float16, bfloat16 or mixed")


@dataclass(frozen=True)
class Resolved:
    """A request, and where each value came from: "default", "file" or "flag", by name."""

    request: EraseRequest
    sources: dict[str, str]
    setting_sources: dict[str, str]


def resolve(file: Mapping[str, Any], flags: Mapping[str, Any]) -> Resolved:
    """Values of a file, overruled by flags, overrule the defaults; settings of the method key by key.

    Raises ValueError in one line for unknown keys and wrong values.
    """
    for key in file.keys() - EraseRequest.model_fields.keys():
        raise ValueError(
            f"unknown key {key!r} in the file; {nearest(key, list(EraseRequest.model_fields))}; "
            "settings of the method go under 'settings:'"
        )
    from_file, from_flags = _settings(file), _settings(flags)
    values = {**file, **flags, "settings": {**from_file, **from_flags}}
    request = parse(EraseRequest, values, "option")
    origins = [(flags, "flag"), (file, "file")]
    return Resolved(
        request,
        {key: next((name for given, name in origins if key in given), "default") for key in EraseRequest.model_fields},
        dict.fromkeys(from_file, "file") | dict.fromkeys(from_flags, "flag"),
    )


def setting_sources(method: Method, resolved: Resolved) -> dict[str, str]:
    """Where each setting of the method comes from: "flag", "file", "preset NAME" or "default"."""
    preset = resolved.request.settings.get("preset")
    chosen = dict.fromkeys(method.settings.presets.get(str(preset), {}), f"preset {preset}")
    return dict.fromkeys(method.settings.model_fields, "default") | chosen | resolved.setting_sources


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; scalars stay text and are converted by the schema, as those of flags are ("null" is a name, not nothing).

    Raises FileNotFoundError, or ValueError if it is no YAML mapping or gives a key twice.
    """
    import yaml

    class Loader(yaml.BaseLoader):
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise ValueError(f"{path} gives {key!r} twice")
            return super().construct_mapping(node, deep)

    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a mapping such as 'concepts: [cat]', not {type(data).__name__}")
    return data


def _settings(values: Mapping[str, Any]) -> Mapping[str, Any]:
    settings = values.get("settings", {})
    if not isinstance(settings, Mapping):
        raise ValueError(f"settings must be a mapping such as 'lr: 1e-3', not {settings!r}")
    return settings
