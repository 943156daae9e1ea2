"""Claims of papers, one file each: the headline as a function that anyone can run, with what would refute it.

The file name is the method's name. A file holds one `CLAIM` (`hasten.claims.harness.claim.Claim`); nothing is
registered. What the last recorded run found lies beside them in `results/`, one JSON file per claim.
"""
