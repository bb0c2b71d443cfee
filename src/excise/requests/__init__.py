"""What can be asked for: one frozen schema a verb. Its fields are a function's arguments, a command's options and a file's keys.

A request is made from plain values, then checked: names are resolved, paths looked at, settings parsed. None of this loads torch. The run
of a checked request stands in `excise.jobs`.
"""
