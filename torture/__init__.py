"""The campaign: hostile files, kills, two runs at once, small disks and small memory, against every verb of the command line.

    make torture                                     10,000 inputs and 500 kills, about ten minutes on two cores
    python -m torture --inputs 600 --kills 30        a part of it
    python -m torture --only edits --number 17       one case again, and all that there is to see of it

A kind of cases is a file in `torture/kinds`. A case is made of a seed, its kind and its number alone. It runs in a sandbox of its own, in a
fork of a process that has imported everything once, so that most cases take less than a tenth of a second. `torture/judge.py` says what
must hold after each of them.
"""
