"""How many pictures a measurement asks for if nobody says (ours)."""

TARGET_PICTURES = 200
"""Of each erased concept: a share of them has a 95 % interval of at most +-7 points."""

OTHER_PICTURES = 24
"""Of each other concept, whose mean is taken."""

DOWNSTREAM_PICTURES = 96
"""Of each group of pictures with which a task is measured that rides on the model."""
