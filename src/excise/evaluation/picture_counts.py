"""How many pictures a measurement asks for if nobody says (ours)."""

TARGET_PICTURES = 200
"""Of each erased concept: a share of them has a 95 % interval of at most +-7 points."""

OTHER_PICTURES = 24
"""Of each other concept, whose mean is taken."""

DOWNSTREAM_PICTURES = 96
"""Of each group that a task which rides on the model is measured on: a difference of PSNR has an interval of some 0.1 dB."""
