"""What transformers of two streams have in common, SD 3's and FLUX.1's (MMDiT, arXiv 2403.03206)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from excise.models.context import left_out, room
from excise.models.entrances import Entrance
from excise.models.families.joint_attention import in_joint_attention
from excise.models.families.picture_tokens import size_shift
from excise.models.families.text_reading import check_tokenizers, clip_ids, clip_words
from excise.models.model import Model


class MMDiTModel(Model):
    """Predicts the velocity of a straight path, at 1000 sigma. Pictures and text attend to each other in the same layers.

    Words have two ways in: the tokens that the text encoders give, and CLIP's pooled row, which is added to the timestep's embedding and
    scales every layer. Each goes through one linear map that sees no picture; behind these maps text mixes with the picture.
    """

    t5: ClassVar[str]
    """What the pipeline's names of its T5 and that one's tokenizer end with."""
    max_shift: ClassVar[float]
    """Of the pipeline, where its scheduler shifts noise levels by a picture's size and names none."""

    @staticmethod
    def check_words(pipeline: Any, model: object) -> None:
        check_tokenizers(pipeline, model)

    @property
    def t5_rows(self) -> int:
        """Rows that T5 gives a prompt, padding included: as many as the pipeline asks for, or its tokenizer allows; 0 without T5."""
        tokenizer = self._t5_tokenizer
        return 0 if tokenizer is None else min(self.asked_rows, tokenizer.model_max_length)

    @property
    @abstractmethod
    def asked_rows(self) -> int:
        """`max_sequence_length` of the pipeline."""

    @property
    def _t5_tokenizer(self) -> Any:
        has = getattr(self.pipeline, f"text_encoder{self.t5}") is not None
        return getattr(self.pipeline, f"tokenizer{self.t5}") if has else None

    def token_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        return clip_ids(self.tokenizer, prompts)

    def t5_ids(self, prompts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt as T5 reads it, its end included."""
        return self._t5_tokenizer(list(prompts), truncation=True, max_length=self.t5_rows).input_ids

    @property
    def room(self) -> int:
        """T5's, which is the longer: CLIP reads the beginning of a long prompt."""
        return room(self._t5_tokenizer, self.t5_rows) if self.t5_rows else room(self.tokenizer)

    def left_out(self, prompts: Sequence[str]) -> dict[str, str]:
        return left_out(self._t5_tokenizer, prompts, self.t5_rows) if self.t5_rows else left_out(self.tokenizer, prompts)

    def words(self) -> list[str]:
        return clip_words(self.tokenizer)

    @property
    def entrances(self) -> tuple[Entrance, ...]:
        return (
            Entrance("transformer.time_text_embed.text_embedder.linear_1.weight", "pooled"),
            Entrance("transformer.context_embedder.weight", "tokens"),
        )

    def in_subspace(self, name: str, subspace: str) -> bool:
        return in_joint_attention(name, subspace)

    def schedule(self, scheduler: Any, steps: int, height: int, width: int) -> dict[str, Any]:
        told = super().schedule(scheduler, steps, height, width)
        return {**told, **size_shift(scheduler.config, height, width, self.max_shift)}
