"""States: where a stopped sampler is, timesteps within their bins, whose states they are."""

from __future__ import annotations

import diffusers
import pytest
import torch

from excise.concepts import Concept
from excise.erasure import subspaces
from excise.erasure.run import Run
from excise.erasure.states import stopped_states, visits, within_bin
from excise.erasure.trainable import Trainable
from excise.models import Model
from trained_methods import CAT, DOG, VISITING, bank_of, settings_of


def test_a_stopped_sampler_is_on_the_path_of_the_whole_one(sd1: Model) -> None:
    bank, rows = bank_of(sd1, CAT, DOG), torch.tensor([0, 1, 0])
    states = stopped_states(sd1, bank, rows, torch.Generator().manual_seed(3), steps=4, guidance_scale=3.0)
    generator = torch.Generator().manual_seed(3)
    stops = torch.randint(4, (3,), generator=generator).tolist()
    seeds = torch.randint(2**31, (3,), generator=generator).tolist()
    path = list(sd1.trajectory(bank.conditioned[rows], seeds, steps=4, guidance_scale=3.0))
    assert len(set(stops)) > 1
    for row, stop in enumerate(stops):
        assert torch.allclose(states.latents[row], path[stop].input[row], atol=1e-5)
        assert int(states.t[row]) == path[stop].timestep


@pytest.mark.parametrize("name, visited", [("PNDM", 6), ("HeunDiscrete", 9), ("DDIM", 5)])
def test_a_sampler_is_stopped_on_all_of_its_path(sd1: Model, name: str, visited: int) -> None:
    """PNDM comes to a timestep twice and takes a step more, Heun comes to all but the last twice; the first time counts."""
    options = {"skip_prk_steps": True} if name == "PNDM" else {}
    sd1.pipeline.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(sd1.pipeline.scheduler.config, **options)
    bank, rows = bank_of(sd1), torch.zeros(40).long()
    states = stopped_states(sd1, bank, rows, torch.Generator().manual_seed(0), steps=5, guidance_scale=1.0)
    generator = torch.Generator().manual_seed(0)
    torch.randint(5, (40,), generator=generator)
    seeds = torch.randint(2**31, (40,), generator=generator).tolist()
    *path, _ = sd1.trajectory(bank.conditioned[rows], seeds, steps=5, guidance_scale=1.0)
    first = {state.timestep: state for state in reversed(path)}
    assert set(states.t.tolist()) == set(first) and len(path) == visited
    for row, t in enumerate(states.t.tolist()):
        assert torch.allclose(states.latents[row], first[t].input[row], atol=1e-4)


def test_timesteps_are_redrawn_in_their_own_bin() -> None:
    """ESD: t in [20 u, 20 (u + 1)) for step u of 50; trailing samplers (999, 949, ...) and odd step counts too."""
    for steps in (50, 20, 7, 3):
        t = torch.arange(1000).repeat(3)
        drawn = within_bin(t, steps, 1000, torch.Generator().manual_seed(0))
        assert torch.equal(drawn * steps // 1000, t * steps // 1000)
        assert int(drawn.min()) >= 0 and int(drawn.max()) <= 999 and len(drawn.unique()) > 800
    drawn = within_bin(torch.tensor([1, 21, 981] * 400), 50, 1000, torch.Generator().manual_seed(0)).view(400, 3)
    for column, low in enumerate((0, 20, 980)):
        assert sorted(set(drawn[:, column].tolist())) == list(range(low, low + 20))


def test_a_batch_of_one_takes_the_concepts_in_turn(sd1: Model) -> None:
    settings = settings_of("esd", **{**VISITING, "states": "fresh", "batch": 1, "steps": 3})
    visit = visits(sd1, bank_of(sd1, CAT, DOG), settings, Run(), 1)
    assert [int(visit(step).row) for step in range(3)] == [1, 0, 1], "round 1 goes on where round 0 ended, at the fourth"


def test_a_pool_goes_on_with_the_concepts_that_the_last_one_had_no_turn_for(sd1: Model) -> None:
    concepts = [Concept(name, "object", (name,)) for name in ("a", "b", "c", "d", "e")]
    bank, settings = bank_of(sd1, *concepts), settings_of("esd", **{**VISITING, "batch": 40})
    found = [{int(row) for row in visits(sd1, bank, settings, Run(), round_)(0).row} for round_ in range(3)]
    assert found == [{0, 1}, {2, 3}, {4, 0}]


def test_states_are_the_student_s_unless_told_otherwise(sd1: Model) -> None:
    bank = bank_of(sd1)
    for how in ("pool", "fresh"):
        settings = settings_of("esd", **VISITING, states=how, guidance_scale=4.0)
        first = [visits(sd1, bank, settings, Run(), 0)(step) for step in range(2)]
        with Trainable(sd1, subspaces.select(sd1, "full")) as trainable:
            with torch.no_grad():
                for parameter in trainable.parameters.values():
                    parameter.add_(0.05)
            student = [visits(sd1, bank, settings, Run(), 0)(step) for step in range(2)]
            base = [visits(sd1, bank, settings, Run(), 0, trainable.untrained)(step) for step in range(2)]
        assert all(torch.equal(a.latents, b.latents) and torch.equal(a.t, b.t) for a, b in zip(first, base, strict=True))
        assert not all(torch.equal(a.latents, b.latents) for a, b in zip(first, student, strict=True))
