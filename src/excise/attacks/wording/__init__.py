"""Other wordings: what it is called and what can be set."""

from __future__ import annotations

from pydantic import Field

from excise.attacks import Attack
from excise.attacks.wording.known import Wordings
from excise.registry import Door
from excise.settings import Settings


class OtherWordsSettings(Settings):
    """Defaults are ours."""

    tries: int = Field(16, ge=1, description="other wordings of every prompt, every kind of wording equally often")
    negated: int = Field(
        48, ge=0, description="pictures of prompts that say no to the concept; they are told apart and break nothing"
    )
    unread: bool = Field(True, description="whether wordings are asked that the model's tokenizer has no words for")
    own: Wordings | None = Field(None, description="further wordings of the concept: --wordings reads them from a file")


ATTACK = Attack(
    "wording",
    title="Other wordings",
    paper="",
    settings=OtherWordsSettings,
    means="words",
    needs_base=True,
    quick={"tries": 1, "negated": 8, "unread": False},
    run=Door("excise.attacks.wording.attack", "attack"),
)
