import pytest

from tests.meters.nvml.faults import FAULTS, Fault, Rigs


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_survived_or_voids_the_window_with_its_code(fault: Fault, rigs: Rigs) -> None:
    """Validity and codes are exactly those expected, and what is valid is right to 0.5 %."""
    found = rigs.outcome(fault)
    assert (fault.validity, fault.codes) == (found.validity, found.codes)
    assert found.is_right or found.validity != "valid"


def test_the_table_knows_wrong_numbers() -> None:
    """Some of the faults do falsify the joules: the table is not right by default."""
    names = {fault.name for fault in FAULTS if fault.validity == "invalid"}
    assert {"counter 40 % low", "counter stuck in mid-window", "counter reset"} <= names
