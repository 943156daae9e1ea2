"""Published methods, one file each, found by listing the folder of their role.

The name of a policy is its file name. `load_policy("schedule", "sjf")` makes one; parameters follow a colon
("static:batch_size=8,wait=inf"); a path ("./mine.py") or an instance works wherever a name does. Packages outside
offer theirs under the entry-point group `hasten.policies.<role>`.
"""

from hasten.policies.card import Parameter, PolicyCard, card_of, policy_card
from hasten.policies.discovery import load_policy, policy_names, role_of, roles

__all__ = [
    "Parameter",
    "PolicyCard",
    "card_of",
    "load_policy",
    "policy_card",
    "policy_names",
    "role_of",
    "roles",
]
