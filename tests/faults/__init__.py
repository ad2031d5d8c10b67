"""Faults on purpose: killed processes, power cuts, refusing disks, other programs in the same mail files.

Each trial is a program, `python -m tests.faults.NAME --help`; `make faults` runs all of them at length, and a short form
of each is among the tests.
"""
