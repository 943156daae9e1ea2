"""Why the head of the waiting queue did not enter a step. Everybody behind it waits for the same reason."""

from typing import Final

SLOTS: Final = 0  # max_num_seqs requests run
BUDGET: Final = 1  # the tokens of the step are used up
MEMORY: Final = 2  # its KV blocks do not fit the free ones
RESERVATION: Final = 3  # a rule of admission keeps room for the answers under way
POLICY: Final = 4  # the scheduling policy keeps the door shut
