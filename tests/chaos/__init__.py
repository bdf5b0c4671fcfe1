"""The chaos campaign: three nodes and a PostgreSQL server meet faults that a seed decides.

Readers record all that they see, and a checker holds it against what readers are promised.
`python -m tests.chaos --help` says how to run it.
"""
