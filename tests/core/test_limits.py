"""Limits refuse what no scheduler can obey."""

from dataclasses import fields

import pytest

from hasten.core.limits import ADMISSIONS, PREEMPTIONS, Limits
from hasten.errors import InputError


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_blocks": 0}, "num_blocks is 0: it must be at least 1"),
        ({"block_size": 0}, "block_size is 0"),
        ({"max_num_seqs": -1}, "max_num_seqs is -1"),
        ({"max_num_batched_tokens": 0}, "max_num_batched_tokens is 0"),
        ({"max_model_len": 0}, "max_model_len is 0"),
        ({"max_num_seqs": 65, "max_num_batched_tokens": 64}, "65 exceeds max_num_batched_tokens 64"),
        ({"admission": "first_fit"}, "'first_fit' is unknown: use one of fits_now"),
        ({"preemption": "oldest"}, "'oldest' is unknown: use one of newest"),
    ],
)
def test_a_limit_out_of_range_is_named_with_its_value(change, message):
    with pytest.raises(InputError, match=message):
        Limits(**{"num_blocks": 10, **change})


@pytest.mark.parametrize("admission", ADMISSIONS)
@pytest.mark.parametrize("preemption", PREEMPTIONS)
def test_every_rule_that_is_offered_is_accepted(admission, preemption):
    limits = Limits(1, admission=admission, preemption=preemption)
    assert {each.name for each in fields(limits)} >= {"num_blocks", "block_size", "admission"}
