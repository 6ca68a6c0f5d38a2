import pytest

from lpbench.errors import InputError
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import (
    PRECISIONS,
    Precision,
    all_expert_bytes,
    expert_bytes,
    find_precision,
    layer_expert_bytes,
    weight_bytes,
)


def shape_of(name: str) -> ModelShape:
    """Return a catalogue model's geometry."""
    shape, _ = find_shape(name)
    return shape


def test_the_precisions() -> None:
    """Two dtypes for all values, and 4.25 bits for experts' matrices in mxfp4."""
    expected = {
        "float32": (4, 4),
        "bfloat16": (2, 2),
        "mxfp4": (2, 4.25 / 8),
    }
    found = {name: (one.value_bytes, one.expert_matrix_bytes) for name, one in PRECISIONS.items()}
    assert expected == found
    assert list(PRECISIONS) == [one.name for one in PRECISIONS.values()]


@pytest.mark.parametrize(
    ("name", "precision", "one_mb", "all_gb"),
    [
        ("qwen3-30b-a3b", "bfloat16", 9.437, 57.98),
        ("qwen3-30b-a3b", "mxfp4", 2.507, 15.40),
        ("gpt-oss-20b", "bfloat16", 49.784, 38.23),
        ("gpt-oss-20b", "mxfp4", 13.236, 10.17),
    ],
)
def test_experts_take_the_bytes_of_the_paper(
    name: str, precision: str, one_mb: float, all_gb: float
) -> None:
    """PAPER.md 2.1, in MB and GB."""
    shape, held = shape_of(name), PRECISIONS[precision]
    assert one_mb == round(expert_bytes(shape, held) / 1e6, 3)
    assert all_gb == round(all_expert_bytes(shape, held) / 1e9, 2)


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3"])
@pytest.mark.parametrize(("dtype", "size"), [("float32", 4), ("bfloat16", 2)])
def test_bytes_of_a_dtype_follow_from_parameters(name: str, dtype: str, size: int) -> None:
    """Where all values are alike, bytes are parameters times the bytes of one."""
    shape, held = shape_of(name), PRECISIONS[dtype]
    expert = size * shape.params_per_expert
    assert expert == expert_bytes(shape, held)
    assert shape.num_experts * expert == layer_expert_bytes(shape, held)
    assert shape.moe_layers * shape.num_experts * expert == all_expert_bytes(shape, held)
    assert size * shape.total_params == weight_bytes(shape, held)


def test_precisions_are_found_by_name() -> None:
    """Bytes are never guessed from a name."""
    assert PRECISIONS["mxfp4"] == find_precision("mxfp4")
    with pytest.raises(InputError) as caught:
        find_precision("int8")
    assert "unknown dtype 'int8'; known: float32, bfloat16, mxfp4" == str(caught.value)


@pytest.mark.parametrize(
    ("name", "is_packed", "matrix"),
    [
        ("float32", False, 4),
        ("bfloat16", False, 4),
        ("mxfp4", True, 4.25 / 8),
    ],
)
def test_what_is_packed_stays_so_in_float32(name: str, matrix: float, *, is_packed: bool) -> None:
    """Widening changes the dtypes alone."""
    held = PRECISIONS[name]
    assert is_packed == held.is_packed == held.widened.is_packed
    assert matrix == held.widened.expert_matrix_bytes
    assert 4 == held.widened.value_bytes
    assert "float32" == held.widened.computed_in


def test_a_released_checkpoint_has_the_size_of_its_weights() -> None:
    """GPT-OSS-20B in mxfp4: 13.76 GB, attention, router, embeddings and biases in bfloat16."""
    shape, held = shape_of("gpt-oss-20b"), PRECISIONS["mxfp4"]
    assert 13.76 == round(weight_bytes(shape, held) / 1e9, 2)


def test_shared_experts_are_held_as_routed_ones() -> None:
    """DeepSeek-V3: 58 layers of 257 experts in 4.25 bits, three dense ones in bfloat16."""
    shape, held = shape_of("deepseek-v3"), PRECISIONS["mxfp4"]
    experts = 58 * 257 * 3 * 7168 * 2048
    expected = experts * 17 // 32 + 2 * (671_026_419_200 - experts)
    assert expected == weight_bytes(shape, held)


def test_bytes_are_whole() -> None:
    """A matrix that is no whole number of bytes takes one more."""
    held = Precision(name="odd", value_bytes=2, expert_matrix_bytes=1 / 7, computed_in="bfloat16")
    shape = shape_of("builtin-moe")
    assert 98_304 // 7 + 1 == expert_bytes(shape, held)
