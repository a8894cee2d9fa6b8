"""Guards what users wait for at their first call: how much each verb lowers to."""

import json

import pytest
from experiments.speed import verbs

from xbarjax import _native


@pytest.mark.skipif(not _native.available(), reason="the kernel was not built")
def test_no_verb_lowers_to_more_than_the_table_says() -> None:
    """Within 10 %: what is meant to be more, or has become less, is put into the table."""
    table, found = json.loads(verbs.TABLE.read_text()), verbs.sizes()
    assert found.keys() == table.keys()
    for verb, size in found.items():
        assert size["loops"] <= table[verb]["loops"], verb
        assert size["operations"] == pytest.approx(table[verb]["operations"], rel=0.1), verb
