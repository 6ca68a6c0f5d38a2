from collections.abc import Sequence

import pytest

from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.cupti.names import BESIDE, PAIRS, resolve, triggers_on_sysclk
from tests.meters.cupti.nvperf import Chip, library

PLAIN, BY_OPERATION = PAIRS
CHIPS = {
    "GA100": PLAIN,
    "AD102": PLAIN,
    "GH100": PLAIN,
    "GB100": PLAIN,
    "GB202": BY_OPERATION,
}
"""Read and write counters by chip, as libnvperf_host 13.5 has them."""

needs_nvperf = pytest.mark.skipif(
    library() is None, reason="needs libnvperf_host of the nvidia-cuda-cupti wheel"
)


@needs_nvperf
@pytest.mark.parametrize("name", CHIPS)
def test_the_chips_own_counters_are_found(name: str) -> None:
    """Against NVIDIA's library: the resolver takes the one pair that the chip has."""
    chip = Chip(name)
    assert CHIPS[name] == resolve(name, chip.known)
    assert 1 == sum(2 == len(chip.known((pair.read, pair.written))) for pair in PAIRS)


@needs_nvperf
@pytest.mark.parametrize("name", CHIPS)
def test_the_counters_count_bytes(name: str) -> None:
    """Against NVIDIA's library: bytes to the first power, and no other unit."""
    chip, pair = Chip(name), CHIPS[name]
    assert [("bytes", 1)] == chip.units(pair.read)
    assert [("bytes", 1)] == chip.units(pair.written)


@needs_nvperf
@pytest.mark.parametrize("name", CHIPS)
def test_one_pass_takes_them_all(name: str) -> None:
    """Against NVIDIA's library: the pair alone, and with what is sampled beside it."""
    chip, pair = Chip(name), CHIPS[name]
    both = (pair.read, pair.written)
    assert list(BESIDE) == chip.known(BESIDE)
    assert (1, 1) == (chip.passes(both), chip.passes((*both, *BESIDE)))


@needs_nvperf
def test_the_library_can_say_two_passes() -> None:
    """The pass count is no constant: two L2 counters beside the pair need a second pass."""
    names = (
        PLAIN.read,
        PLAIN.written,
        "lts__t_sectors_srcunit_tex_lookup_miss.sum",
        "lts__t_sectors_srcunit_tex.sum",
    )
    assert 2 == Chip("GH100").passes(names)


def test_half_a_pair_is_no_pair() -> None:
    """A chip with a read counter of one kind and a write counter of the other has neither."""

    def known(names: Sequence[str]) -> set[str]:
        return {PLAIN.read, BY_OPERATION.written} & set(names)

    with pytest.raises(SamplerError, match="GB20B has none of the DRAM counters") as caught:
        resolve("GB20B", known)
    assert "unknown_metric" == caught.value.code


def test_turing_and_ga100_cannot_sample_by_time() -> None:
    """The two families without a time trigger (cupti_pmsampling.h), and none besides."""
    chips = ("TU102", "TU117", "GA100", "GA102", "AD102", "GH100", "GB100", "GB202")
    assert ["TU102", "TU117", "GA100"] == [chip for chip in chips if triggers_on_sysclk(chip)]
