"""What `excise evaluate` measures of one model, and of a model beside its base."""

from __future__ import annotations

from excise.figures import Figure, ResultRecord
from excise.results.downstream_result import Downstream
from excise.results.result_file import Facts


class Figures(ResultRecord):
    """What the pictures of one model show; shares 0–1, None where there is nothing to measure.

    ua           pictures asked to show the erased concept that do not
    neutral      pictures of the *base* model that show it though its words were taken out of the prompt
    ira, cra     kept concepts of its own kind, and of the other kind, recognised in their pictures
    nra, ora     of a member: other members of its object, and other objects
    bystanders   things that no method is told of, recognised in their pictures; bystander_change: how far those moved from the base model's
                 own, as its classifier sees them: 0 not at all, 1 as far as pictures of different things are apart (`feature_change`)
    fid_base, kid_base, pixel_change, lpips  how far the kept concepts' pictures are from the base model's own
    fid_real, kid_real  the same from real pictures; clip_score: how well they fit their prompts (cosine)
    """

    ua: Figure
    neutral: Figure | None = None
    ira: Figure | None = None
    cra: Figure | None = None
    nra: Figure | None = None
    ora: Figure | None = None
    bystanders: Figure | None = None
    bystander_change: Figure | None = None
    fid_base: Figure | None = None
    kid_base: Figure | None = None
    pixel_change: Figure | None = None
    lpips: Figure | None = None
    fid_real: Figure | None = None
    kid_real: Figure | None = None
    clip_score: Figure | None = None

    @property
    def erased(self) -> float:
        """Pictures asked to show the erased concept that still do."""
        return 1 - self.ua.value


class ConceptShares(ResultRecord):
    """Shares 0–1 of one concept's pictures in which it is recognised.

    base, edited of these models' pictures; neutral, of a target: of the base model's without its words
    n            pictures of each model
    """

    concept: str
    base: float
    edited: float
    neutral: float | None = None
    n: int


class Variant(ResultRecord):
    """The edited model's figures by the denominators that another table uses; `counts` says which pictures count."""

    name: str
    counts: str
    ua: Figure
    ira: Figure | None = None
    cra: Figure | None = None
    nra: Figure | None = None
    ora: Figure | None = None


class GoldDistances(ResultRecord):
    """How far a model is from one that was trained from scratch without the concept; 0: not at all.

    target, kept how unlike the classes are that the erased concept's prompts show, and the others', 0–1
    fid          Fréchet distance of all pictures
    nats         how far the nats that the erased words carry are from those they carry there; the report works it out
    base         the same of the base model
    fingerprint  of the model trained without it
    """

    target: float | None = None
    kept: float | None = None
    fid: Figure | None = None
    nats: float | None = None
    base: GoldDistances | None = None
    fingerprint: dict[str, str] | None = None


class Protocol(ResultRecord):
    """What makes the numbers.

    variant  whose denominators `ira` and `cra` have
    template of the prompts; classifier: its identity
    quality  features, weights and numbers of pictures behind FID and KID; None where they were not measured
    """

    name: str
    variant: str
    template: str
    sampler: Facts
    classifier: str
    quality: Facts | None = None


class PictureCounts(ResultRecord):
    """Pictures of each model: of the targets, of what is retained, of the targets without their words, of bystanders if there are any."""

    target: int
    retained: int
    neutral: int
    bystanders: int | None = None


class Evaluation(Figures):
    """The edited model's figures, and under `base` those of the model before, on the same prompts and seeds.

    Intervals are 95 %: of one target's share Wilson's; of a mean over concepts the wider of Wilson's over pooled pictures and the bootstrap
    over concepts.

    ira_of_base, cra_of_base mean over concepts of edited / base accuracy, each capped at 1; ira_worst, cra_worst the smallest
    bystanders_of_base       edited / base share, capped at 1: of each there are too few pictures for a ratio of its own
    targets, retained        concept by concept
    each_bystander           bystander by bystander; None where none were asked for
    seeds_from               lowest seed of the pictures
    downstream               a task that rides on the model without naming a concept, measured if asked for
    """

    base: Figures
    ira_of_base: float | None = None
    ira_worst: float | None = None
    cra_of_base: float | None = None
    cra_worst: float | None = None
    bystanders_of_base: float | None = None
    targets: tuple[ConceptShares, ...]
    retained: tuple[ConceptShares, ...]
    each_bystander: tuple[ConceptShares, ...] | None = None
    variants: tuple[Variant, ...]
    gold: GoldDistances | None = None
    protocol: Protocol
    pictures: PictureCounts
    seeds_from: int
    downstream: Downstream | None = None

    def of_base(self) -> Evaluation:
        """The same with the base model in the place of the edited one."""
        measured = {name: getattr(self.base, name) for name in Figures.model_fields}
        return self.model_copy(update={**measured, "gold": self.gold and self.gold.base})
