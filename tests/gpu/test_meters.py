"""Do the meters tell the truth: known traffic, known work, one instrument beside another.

What was found goes to `meters-NAME.json` where the records go, whatever the verdict: some of these
questions are open until a GPU has answered them.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter

from lpbench.meters.catalogue import build_meter, probe_meter
from lpbench.meters.cupti.slope import slope
from lpbench.meters.meter import Measurement, Meter
from lpbench.meters.nvml.company import Company
from lpbench.record.schema import Reading

pytestmark = pytest.mark.gpu

BYTES = 4 << 30
"""Of the buffer that is copied or read: far more than any cache."""
COPIES = 60
"""In a window; twice as many in the other: about 0.15 and 0.3 s at 4 TB/s."""
TRUTH = 0.02
"""How far measured bytes may be from known ones."""
WORK_S = 12.0
"""Above the 10 s under which a window of joules is void."""

Work = Callable[[int], None]
MEASUREMENT = TypeAdapter(Measurement)


@pytest.fixture
def settle(results: Path) -> Callable[..., None]:
    """Return what writes findings down."""

    def write(name: str, **findings: object) -> None:
        text = json.dumps(findings, indent=1, default=str)
        (results / f"meters-{name}.json").write_text(text + "\n", encoding="utf-8")

    return write


@pytest.fixture
def meter(request: pytest.FixtureRequest) -> Iterator[Meter]:
    """Return the meter that a test names, if it can measure here."""
    found = probe_meter(request.param)
    if not found.available:
        pytest.skip(f"{found.meter}: {found.reason} ({found.code}); {found.fix}")
    built = build_meter(request.param)
    yield built
    built.close()


@pytest.fixture(scope="module")
def buffers() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return two buffers of `BYTES` on the GPU."""
    yield tuple(torch.zeros(BYTES // 4, device="cuda:0") for _ in "ab")  # type: ignore[misc]
    torch.cuda.empty_cache()


def copying(buffers: tuple[torch.Tensor, torch.Tensor]) -> Work:
    """Return work that reads and writes `BYTES` so often."""
    source, target = buffers

    def run(times: int) -> None:
        for _ in range(times):
            target.copy_(source)
        torch.cuda.synchronize()

    return run


def reading(buffers: tuple[torch.Tensor, torch.Tensor]) -> Work:
    """Return work that reads a matrix of `BYTES`, 8192 wide, against one vector so often."""
    matrix = buffers[0].view(-1, 8192)
    vector = torch.ones(8192, device="cuda:0")

    def run(times: int) -> None:
        for _ in range(times):
            matrix @ vector
        torch.cuda.synchronize()

    return run


def window(meter: Meter, work: Work, times: int) -> Measurement:
    """Return what the meter found over so much work."""
    meter.start()
    work(times)
    return meter.stop()


def one_of(meter: Meter, work: Work, name: str) -> tuple[Reading, list[Measurement]]:
    """Return the bytes of one piece of work, as slope, and the windows it is from."""
    work(3)
    windows = [window(meter, work, times) for times in (COPIES, 2 * COPIES)]
    once, twice = (found.readings[name] for found in windows)
    return slope(once=once, twice=twice, repetitions=COPIES), windows


def as_json(windows: list[Measurement]) -> list[Mapping[str, object]]:
    """Return windows without their series."""
    return [
        MEASUREMENT.dump_python(found, mode="json", exclude={"series"}, by_alias=True)
        for found in windows
    ]


@pytest.mark.parametrize("meter", ["cupti"], indirect=True)
def test_a_known_copy_has_its_bytes(
    meter: Meter,
    buffers: tuple[torch.Tensor, torch.Tensor],
    settle: Callable[..., None],
    record_property: Callable[[str, object], None],
) -> None:
    """4 GiB are read and 4 GiB written a copy, within 2 %."""
    work = copying(buffers)
    read, windows = one_of(meter, work, "dram_bytes_read")
    written, others = one_of(meter, work, "dram_bytes_written")
    settle(
        "copy",
        known_bytes=BYTES,
        read=read.model_dump(mode="json"),
        written=written.model_dump(mode="json"),
        facts=dict(meter.probe().facts),
        windows=as_json(windows + others),
    )
    for found in (read, written):
        assert found.value is not None, found
        record_property("share", found.value / BYTES)
        assert "valid" == found.validity, found
        assert found.value == pytest.approx(BYTES, rel=TRUTH)


@pytest.mark.parametrize("meter", ["cupti"], indirect=True)
def test_a_known_matrix_is_read_once(
    meter: Meter,
    buffers: tuple[torch.Tensor, torch.Tensor],
    settle: Callable[..., None],
    record_property: Callable[[str, object], None],
) -> None:
    """A product with one vector reads 4 GiB of matrix and writes next to nothing."""
    work = reading(buffers)
    read, windows = one_of(meter, work, "dram_bytes_read")
    settle(
        "matrix",
        known_bytes=BYTES,
        read=read.model_dump(mode="json"),
        windows=as_json(windows),
    )
    assert "valid" == read.validity, read
    assert read.value is not None
    record_property("share", read.value / BYTES)
    assert read.value == pytest.approx(BYTES, rel=TRUTH)
    written = windows[1].readings["dram_bytes_written"].value
    assert written is not None
    assert written < TRUTH * 2 * COPIES * BYTES


@pytest.mark.parametrize("meter", ["gpm"], indirect=True)
def test_gpm_sees_a_known_copy(
    meter: Meter,
    buffers: tuple[torch.Tensor, torch.Tensor],
    settle: Callable[..., None],
    record_property: Callable[[str, object], None],
) -> None:
    """Read and written together, as near as its own uncertainty and 5 % of the peak's figure."""
    moved, windows = one_of(meter, copying(buffers), "dram_bytes_gpm")
    settle(
        "gpm",
        known_bytes=2 * BYTES,
        moved=moved.model_dump(mode="json"),
        facts=dict(meter.probe().facts),
        windows=as_json(windows),
    )
    assert moved.value is not None, moved
    record_property("share", moved.value / (2 * BYTES))
    assert moved.value == pytest.approx(2 * BYTES, rel=0.05, abs=moved.uncertainty)


@pytest.mark.parametrize("meter", ["cupti"], indirect=True)
def test_clocks_and_company_while_sampling(
    meter: Meter, buffers: tuple[torch.Tensor, torch.Tensor], settle: Callable[..., None]
) -> None:
    """What PM sampling does to the clocks, and whether NVML sees its process, is settled.

    Whichever: once the meter is open, its sampler is no foreign process any more.
    """
    import pynvml  # type: ignore[import-untyped]

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    work, company = copying(buffers), Company()

    def clocks() -> list[int]:
        work(20)
        return [pynvml.nvmlDeviceGetClockInfo(handle, kind) for kind in (1, 2)]

    before = clocks()
    company.look()
    alone = company.most
    company.close()
    meter.start()
    first = company.look()
    during = clocks()
    found = meter.stop()
    last, sampling = company.look(), company.most
    meter.close()
    after = clocks()
    pynvml.nvmlShutdown()
    settle(
        "clocks",
        before=before,
        during=during,
        after=after,
        processes_alone=alone,
        processes_sampling=sampling,
        facts=dict(meter.probe().facts),
        windows=as_json([found]),
    )
    assert ((), ()) == (first, last)
    company.close()


@pytest.mark.parametrize("load", ["idle", "copying", "matmul"])
@pytest.mark.parametrize("meter", ["nvml"], indirect=True)
def test_the_energy_counter_agrees_with_power(
    meter: Meter,
    load: str,
    buffers: tuple[torch.Tensor, torch.Tensor],
    settle: Callable[..., None],
    record_property: Callable[[str, object], None],
) -> None:
    """Over 12 s, without work and under two loads, counter and integrated power are within 5 %.

    Nothing else is held against the window: a slowdown by heat is the machine's.
    """
    square = torch.randn(8192, 8192, device="cuda:0", dtype=torch.bfloat16)
    copy = copying(buffers)

    def step() -> None:
        if load == "idle":
            time.sleep(0.1)
        elif load == "copying":
            copy(20)
        else:
            for _ in range(50):
                square @ square
            torch.cuda.synchronize()

    step()
    meter.start()
    until = time.monotonic() + WORK_S
    while time.monotonic() < until:
        step()
    found = meter.stop()
    settle(f"energy-{load}", facts=dict(meter.probe().facts), windows=as_json([found]))
    joules = found.readings["total_gpu_energy_j"]
    by_power = found.readings["gpu_energy_by_power_j"].value
    assert joules.value is not None, joules
    assert by_power
    record_property("counter_over_power", joules.value / by_power)
    record_property("tick_s", found.readings["energy_tick_period_s"].value)
    record_property("reasons", joules.reasons)
    assert joules.value == pytest.approx(by_power, rel=0.05)
    assert "energy_counter_stuck" not in joules.reasons
