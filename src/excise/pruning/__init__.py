"""Pruned models: repairing a student from its teacher, and erasing concepts meanwhile (arXiv 2412.15341).

A student is a model from which blocks were taken (`Model.pruned`). Repairing alone teaches it again what was to go; so both are one problem of
two levels: erase, among the students that are repaired well.
"""
