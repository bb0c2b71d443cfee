"""What a file, a flag or an argument may declare at most. Real work stays far below; what is above is refused before any work.

All of them are ours. A bound says what it leaves room for.
"""

from __future__ import annotations

TEXT_BYTES = 64 * 2**20
"""Bytes of a text file. The longest that is written lists an answer set of 100,000 pictures, in about 50 MB."""

VALUES = 4_000_000
"""Values in a JSON file; that list has 1.5 million. It is then at most some hundred MB of Python objects."""

DEPTH = 64
"""How deep lists and objects of a JSON file may lie in each other. Results have about ten levels, Python's own limit is near 1,000."""

CONFIG_BYTES = 2**20
"""Bytes of a YAML file, which people write by hand."""

CONFIG_VALUES = 10_000
"""Keys and values in a YAML file."""

CONFIG_DEPTH = 8
"""Levels of a YAML file; an option that is a mapping of lists has three."""

CHARACTERS = 10_000
"""Of a prompt or of any other text that a user gives: models read 77 tokens of it, published prompts have at most some 1,000 characters."""

NAME = 500
"""Characters of a concept's name or of a phrase for it: about what 77 tokens can hold."""

ENTRIES = 10_000
"""Values of an option that takes several, such as prompts or edits; entries of a mapping such as settings."""

COLUMNS = 1_000
"""Columns of a CSV file."""

PICTURES = 100_000
"""Pictures of one run, of one answer set, or rows of a prompt file: three times COCO-30k."""

PICTURE_BYTES = 2**29
"""Bytes of a picture's file. The largest picture that is opened has 2**26 pixels: 400 MB of colours of 16 bits."""

RESTORED = 2**24
"""Pixels of a restored picture: 4096 x 4096, of which several copies take 200 MB each; `RESTORED_EDGE` of its longer edge."""

RESTORED_EDGE = 8_192
"""Twice the edge of the largest square, for panoramas."""

MAGNIFICATION = 16
"""How many times as large as its input a restored picture may be: restorers are trained for 4."""

TILES = 100_000
"""Tiles of one restored picture: one of 4096 x 4096 pixels has 225 of Stable Diffusion's."""

CELLS = 100_000
"""Cells of a benchmark: each is an erasure and a file."""

STEPS = 1_000
"""Steps of a sampler: as many as there are timesteps in training, of which published samplers visit 20 to 250."""

EDGE = 2_048
"""Pixels of the longer edge of a picture that is made: four times what Stable Diffusion 1.x was trained at. A decoder then needs some 10 GB."""

TIMESTEPS = 100_000
"""Of a sampler's training: a table is made of them. Known are 1,000."""

TENSORS = 10_000
"""Tensors of a network: the largest that are known have some 3,000."""

CONFIG_NUMBER = 2**24
"""A whole number in a network's config: the largest known are vocabularies of some 250,000 tokens."""

EVALUATIONS = 10**8
"""Network evaluations of a budget: months of one GPU."""

COUNT = 10**6
"""Any other whole number, such as a rank or a method's steps; published ones stay below 10**5."""

NUMBER = 1e38
"""Any other number, such as a weight: what single precision can hold."""

TRAINING_STEPS = 10**7
"""Gradient steps of a run in all."""

SECONDS = 10**8
"""Seconds of anything: three years."""

STRENGTH = 1_000
"""Strength of an edit, guidance of a sampler, in both directions: 1 and 7.5 are usual."""

PAIRS = 200_000
"""Prompts of one concept: every template with every phrase in every context."""

CONCEPTS = 10_000
"""Concepts that a model may declare: ten times those of ImageNet."""
