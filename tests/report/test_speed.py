"""The tables and the words of `lpbench bench-engine`."""

import pytest

from lpbench.analysis.metrics import SPEED_METRICS
from lpbench.bench.timed import CALLS, MS
from lpbench.record.schema import Arm, Ledger, Reading, Record, Schedule, Window
from lpbench.report.speed import MOST_KERNELS, WIDEST, short_name, speed_notes, speed_tables

VALUES = {
    "pass_ms_median": 20.0,
    "pass_ms_p90": 21.0,
    "wall_ms_median": 22.0,
    "host_ms_median": 1.5,
    "pass_expert_bytes": 5e10,
    "pass_bytes": 6e10,
    "pass_flops": 2.5e11,
    "bound_ms": 15.0,
    "roofline_share": 0.75,
}


def reading(value: float | None, unit: str, *reasons: str) -> Reading:
    """Return a measured figure; None is absent."""
    validity = "absent" if value is None else "invalid" if reasons else "valid"
    return Reading(
        value=value,
        unit=unit,
        method="measured",
        source="told",
        validity=validity,
        reasons=reasons,
        pass_="speed",  # noqa: S106 - no password
    )


def arm(label: str, kernels: int = 3, **changes: Reading) -> Arm:
    """Return a size with kernels of 3, 2, 1, ... ms in a pass of 10 ms."""
    metrics = {name: reading(VALUES[name], metric.unit) for name, metric in SPEED_METRICS.items()}
    readings = {}
    for at in range(kernels):
        readings[f"{MS}kernel_{at}"] = reading((kernels - at) / kernels, "ms")
        readings[f"{CALLS}kernel_{at}"] = reading(48, "1")
    return Arm(
        label=label,
        schedule=Schedule(name="whole", params={}),
        plan_hash="",
        metrics=metrics | changes,
        windows=(
            Window(name="timed", pass_="speed", iterations=64, duration_ms=1),  # noqa: S106
            Window(
                name="profile",
                pass_="profile",  # noqa: S106 - no password
                iterations=1,
                duration_ms=10,
                readings=readings,
            ),
        ),
        ledger=Ledger(counted_bytes=None, modelled_bytes=None),
    )


def record(*arms: Arm, device: str = "cuda", stated: bool = True) -> Record:
    """Return a complete record of the sizes."""
    peaks = {
        "memory_bandwidth": reading(4.3e12, "B/s"),
        "flop_rate": reading(7.9e14, "FLOP/s"),
    }
    return Record(
        lpbench_version="0",
        status="complete",
        command="engine",
        spec={
            "model": "m",
            "routing": "calibrated",
            "dtype": "bfloat16",
            "device": device,
            "context_len": 2048,
        },
        spec_hash="",
        environment={},
        protocol={
            "stated_peaks": {"memory_bandwidth": 4.8e12, "flop_rate": 989.4e12} if stated else {}
        },
        windows=(
            Window(
                name="peaks",
                pass_="peaks",  # noqa: S106 - no password
                iterations=0,
                duration_ms=1,
                readings=peaks,
            ),
        ),
        arms=arms,
    )


def test_a_row_for_every_size() -> None:
    """Times in ms, bytes in GB, the share in percent; absent is a dash, invalid in brackets."""
    absent = reading(None, "ms", "too_few_samples")
    above = reading(1.25, "ratio", "above_roofline")
    table, *_ = speed_tables(
        record(arm("decode:1"), arm("prefill:8", pass_ms_p90=absent, roofline_share=above))
    )
    figures = ("1.500", "60.000", "250.0", "15.000")
    assert ("decode:1", "20.000", "21.000", *figures, "75 %") == table.rows[0]
    assert ("prefill:8", "20.000", "-", *figures, "(125 %)") == table.rows[1]


def test_kernels_of_the_largest_sizes() -> None:
    """By number, not by text; what no kernel takes stands last."""
    arms = (arm("decode:32"), arm("decode:128"), arm("prefill:2048"), arm("prefill:512"))
    _, decode, prefill = speed_tables(record(*arms))
    assert decode.title.startswith("decode:128 ")
    assert prefill.title.startswith("prefill:2048 ")
    assert ("kernel_0", "48", "1.000", "10.0%") == decode.rows[0]
    assert ("(no kernel runs)", "", "8.000", "80.0%") == decode.rows[-1]


def test_the_rest_of_many_kernels_is_one_row() -> None:
    """Together, with all their calls."""
    _, table = speed_tables(record(arm("decode:1", kernels=MOST_KERNELS + 3)))
    assert MOST_KERNELS + 2 == len(table.rows)
    assert ("3 more", "144") == table.rows[MOST_KERNELS][:2]


def test_on_a_cpu_operators_are_not_all() -> None:
    """The products of MKL are no operators of torch's."""
    _, table = speed_tables(record(arm("decode:1"), device="cpu"))
    assert "operator" == table.columns[0]
    assert "(outside torch's operators)" == table.rows[-1][0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("_gate_up_kernel", "_gate_up_kernel"),
        ("Memcpy HtoD (Pinned -> Device)", "Memcpy HtoD"),
        (
            "void at::native::vectorized_elementwise_kernel<4, std::array<char*, 3ul> >(int)",
            "at::native::vectorized_elementwise_kernel",
        ),
        (
            "void at::native::(anonymous namespace)::indexSelectSmallIndex<float, long>(int)",
            "at::native::indexSelectSmallIndex",
        ),
        ("<lambda>(int)", "<lambda>(int)"),
    ],
)
def test_names_are_short(name: str, expected: str) -> None:
    """Without arguments, templates and the return type."""
    assert expected == short_name(name)


def test_a_long_name_keeps_both_ends() -> None:
    """The end tells the tiles of products apart."""
    found = short_name("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_warpgroupsize1")
    assert WIDEST >= len(found)
    assert found.startswith("sm90_xmma_gemm")
    assert found.endswith("warpgroupsize1")


def test_notes_say_both_peaks_and_how_passes_were_timed() -> None:
    """Measured, and stated where the device is known."""
    said = " ".join(speed_notes(record(arm("decode:1"))))
    assert "memory 4.30 TB/s (stated: 4.80 TB/s)" in said
    assert "products 790 TFLOP/s (stated: 989 TFLOP/s)" in said
    assert "CUDA events" in said
    assert "p90" not in said
    assert "brackets" not in said
    assert "stated" not in " ".join(speed_notes(record(arm("decode:1"), stated=False)))


def test_brackets_are_explained_where_there_are_some() -> None:
    """A share above one."""
    above = reading(1.25, "ratio", "above_roofline")
    assert "in brackets" in " ".join(speed_notes(record(arm("decode:1", roofline_share=above))))


def test_notes_of_a_cpu_and_of_few_passes() -> None:
    """Why a column has dashes."""
    computes = reading(None, "ms", "host_computes")
    few = reading(None, "ms", "too_few_samples")
    said = " ".join(speed_notes(record(arm("decode:1", host_ms_median=computes, pass_ms_p90=few))))
    assert "the host computes" in said
    assert "A p90 needs 64 passes (--repeats)." in said
