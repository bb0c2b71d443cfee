"""The prompt bank: prompts with the concept and the same prompts without it, encoded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property

import torch
from torch import Generator, Tensor

from excise.concepts import Concept, PromptPair, apart
from excise.erasure.counterexamples import Counterexample
from excise.erasure.lazy_conditioning import LazyConditioning, PromptCache
from excise.erasure.prompt_settings import Wording
from excise.erasure.wording import worded
from excise.models import Conditioning, Model
from excise.models.context import tell_cut


@dataclass(frozen=True)
class PromptBank:
    """Encoded prompt pairs of one or more concepts, and counterexamples of attacks after them.

    pairs       what the first rows are, in order; counterexamples have none, since their words are not the concept's
    owner       (rows,) int64, index of the concept a row belongs to; n more for counterexamples of it, where there are n concepts
    conditioned one prompt a row, with the concept
    masked      the same without
    empty       no prompt: what the model is told in the place of an empty one
    """

    pairs: tuple[PromptPair, ...]
    owner: Tensor
    conditioned: Conditioning
    masked: Conditioning
    empty: Conditioning

    @classmethod
    def of(cls, model: Model, concepts: Sequence[Concept], plain: bool = False) -> PromptBank:
        """The prompts of the concepts: every phrasing, or only the plain ones. They are encoded when they are first asked for, as long as all
        that reads them stays where it is; else at once.

        Raises ValueError if a prompt does not contain its concept (nothing could be learned from it).
        """
        groups = [concept.plain_pairs() if plain else concept.pairs() for concept in apart(concepts)]
        return cls.of_pairs(model, groups, lazy=not model.unedited_parts)

    @classmethod
    def of_pairs(cls, model: Model, groups: Sequence[Sequence[PromptPair]], *, lazy: bool = False) -> PromptBank:
        """Encode the given prompt pairs, one group per concept; `lazy`: each when it is first asked for.

        Raises ValueError if a pair's prompts are the same, also after what is past the model's context is cut off, or a group is empty.
        """
        if not groups or not all(groups):
            raise ValueError("a concept has no prompt that names it: no template has room for it")
        pairs = tuple(pair for group in groups for pair in group)
        for pair in pairs:
            if pair.prompt == pair.masked:
                raise ValueError(f"prompt {pair.prompt!r} does not contain the concept to erase")
        owner = torch.cat([torch.full((len(group),), index) for index, group in enumerate(groups)])
        distinct = list(dict.fromkeys(["", *(pair.prompt for pair in pairs), *(pair.masked for pair in pairs)]))
        _check_apart(model, pairs)
        tell_cut(model, distinct)
        places = {prompt: index for index, prompt in enumerate(distinct)}
        told, rest = (torch.tensor([places[text] for text in texts]) for texts in zip(*map(astuple, pairs), strict=True))
        if lazy:
            cache = PromptCache(model, distinct)
            empty = cache.rows(torch.tensor([0]))
            return cls(pairs, owner, LazyConditioning(cache, told), LazyConditioning(cache, rest), model.blank(empty))
        encoded = model.encode(distinct)
        return cls(pairs, owner, encoded[told], encoded[rest], model.blank(encoded[[0]]))

    def with_counterexamples(
        self, model: Model, concepts: Sequence[Concept], counterexamples: Sequence[Counterexample]
    ) -> PromptBank:
        """The bank with a row more for each counterexample; the counterexamples of a concept have turns of their own when rows are drawn."""
        if not counterexamples:
            return self
        labels = [concept.label for concept in concepts]
        texts = list(dict.fromkeys(text for a in counterexamples for text in (a.told, a.masked) if isinstance(text, str)))
        tell_cut(model, texts)
        encoded = dict(zip(texts, model.encode(texts), strict=True))
        told = [
            encoded[a.told]
            if isinstance(a.told, str)
            else encoded[a.masked].with_tokens(a.told[None].to(model.device, model.dtype))
            for a in counterexamples
        ]
        return replace(
            self,
            owner=torch.cat([self.owner, torch.tensor([len(labels) + labels.index(a.concept) for a in counterexamples])]),
            conditioned=Conditioning.join([self.conditioned, *told]),
            masked=Conditioning.join([self.masked, *(encoded[a.masked] for a in counterexamples)]),
        )

    def read_ahead(self, rows: Tensor) -> None:
        """Encode these rows (n,) now, so that their bits do not depend on what a run asks for first: one that was stopped does not begin
        at the beginning."""
        _ = self.conditioned[rows], self.masked[rows]

    def reworded(self, rows: Tensor, generator: Generator) -> Tensor:
        """Random rows in the place of these (n,): of the same concept, with the same prompt without its words. Counterexamples stay."""
        return torch.tensor(
            [same[torch.randint(len(same), (1,), generator=generator)] for same in map(self._same, rows.tolist())]
        )

    def _same(self, row: int) -> list[int]:
        if row >= len(self.pairs):
            return [row]
        return self._by_rest[int(self.owner[row]), self.pairs[row].masked]

    @cached_property
    def _by_rest(self) -> dict[tuple[int, str], list[int]]:
        """Rows by concept and prompt without its words."""
        found: dict[tuple[int, str], list[int]] = {}
        for row, (owner, pair) in enumerate(zip(self.owner.tolist(), self.pairs, strict=False)):
            found.setdefault((owner, pair.masked), []).append(row)
        return found

    def draw(self, count: int, generator: Generator, first: int = 0) -> Tensor:
        """`count` random rows, the owners in turn from number `first` on, (count,) int64."""
        return in_turn(self.owner, count, generator, first)


def _check_apart(model: Model, pairs: Sequence[PromptPair]) -> None:
    """Raise ValueError for a pair that a cut makes the same."""
    rest = model.left_out([text for pair in pairs for text in (pair.prompt, pair.masked)])
    for pair in pairs:
        prompt, masked = (text[: len(text) - len(rest.get(text, ""))].split() for text in (pair.prompt, pair.masked))
        if prompt == masked:
            raise ValueError(
                f"the prompt {pair.prompt!r} is cut before the words of the concept: {model.name} does not read {rest[pair.prompt]!r}"
            )


def in_turn(owner: Tensor, count: int, generator: Generator, first: int = 0) -> Tensor:
    """`count` random places in `owner` (n,), the owners in turn from number `first` on, (count,) int64."""
    rows = [(owner == index).nonzero().squeeze(1) for index in owner.unique()]
    turns = [rows[(first + i) % len(rows)] for i in range(count)]
    return torch.cat([turn[torch.randint(len(turn), (1,), generator=generator)] for turn in turns])


def redirected(model: Model, concepts: Sequence[Concept], wording: Wording, to: str) -> list[list[PromptPair]]:
    """The prompts that name each concept, with the prompt that they should be taken for as `masked`.

    to  "masked": the same prompt without the concept's words; "empty": the empty prompt; "next": the same prompt with the next concept
        of its kind that the model declares and that is not erased too; else a phrase to put in its place, such as "a dog"

    Raises ValueError for "next" where the model declares no other concept of the kind.
    """
    concepts = apart(concepts)
    if to in ("masked", "empty"):
        return [worded(concept, wording, None if to == "masked" else "") for concept in concepts]
    return [_replaced(concept, wording, _next(model, concept, concepts) if to == "next" else to) for concept in concepts]


def _replaced(concept: Concept, wording: Wording, phrase: str) -> list[PromptPair]:
    if wording != "templates":
        return [PromptPair(pair.prompt, phrase) for pair in worded(concept, wording, "")]
    found: dict[str, str] = {}
    for context in ("", *concept.contexts):
        for template in concept.templates:
            for own in concept.phrases:
                pair = concept.pair(template, own, context)
                if pair.prompt and pair.prompt != pair.masked:
                    found.setdefault(pair.prompt, concept.pair(template, phrase, context).prompt)
    return [PromptPair(prompt, other) for prompt, other in found.items()]


def _next(model: Model, concept: Concept, erased: Sequence[Concept]) -> str:
    """The plain phrase of the next declared concept that shares no phrase with those to erase."""
    declared = model.catalog.of_kind(concept.kind)
    taken = {phrase for other in erased for phrase in other.phrases}
    start = next((i + 1 for i, other in enumerate(declared) if other.name == concept.name), 0)
    for other in declared[start:] + declared[:start]:
        if not taken & set(other.phrases):
            return other.phrases[0]
    raise ValueError(
        f"{model.name} declares no other {concept.kind}; say what {concept.name!r} should be taken for, such as 'a dog'"
    )
