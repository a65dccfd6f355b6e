"""The table of structures."""

from adamergex.algebra import STRUCTURES
from tests.support.operands import CASES


def test_every_rule_in_the_table_is_held_to_the_laws():
    tested = {type(case.structure) for case in CASES.values()}
    assert {type(rule) for rule in STRUCTURES.values()} <= tested
