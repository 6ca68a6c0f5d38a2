import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.shape.latent import Latent
from lpbench.shape.model import ModelShape, Rope, Yarn, read_config
from lpbench.shape.precision import PRECISIONS, all_expert_bytes

MODELS = Path(__file__).parents[2] / "workloads" / "models"
KNOWN = "qwen3_moe, gpt_oss, mixtral, olmoe, deepseek_v3"


def catalogue(name: str) -> ModelShape:
    """Return the shape of a model in the catalogue."""
    return ModelShape.from_config(read_json(name), name=name)


def read_json(name: str) -> dict[str, object]:
    """Return the config of a model in the catalogue."""
    config: dict[str, object] = json.loads((MODELS / f"{name}.json").read_text())
    return config


def changed(name: str, **changes: object) -> dict[str, object]:
    """Return a catalogue config with keys set, or removed where the value is `...`."""
    both = read_json(name) | changes
    return {key: value for key, value in both.items() if value is not ...}


def refusal(call: Callable[[], object]) -> str:
    """Return the one line with which `call` is refused."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_qwen3_30b_has_the_published_geometry() -> None:
    """The catalogue's Qwen3-30B-A3B is the published model."""
    expected = ModelShape(
        name="qwen3-30b-a3b",
        family="qwen3_moe",
        num_layers=48,
        hidden_size=2048,
        num_heads=32,
        num_kv_heads=4,
        head_dim=128,
        num_experts=128,
        top_k=8,
        expert_size=768,
        vocab_size=151_936,
        max_positions=40_960,
        windows=(0,) * 48,
        rms_eps=1e-6,
        rope=Rope(theta=1_000_000.0),
        attention_bias=False,
        norm_topk=True,
        tied_embeddings=False,
        swiglu_limit=math.inf,
    )
    assert expected == catalogue("qwen3-30b-a3b")


def test_gpt_oss_20b_has_the_published_geometry() -> None:
    """The catalogue's GPT-OSS-20B is the published model, windows on even layers."""
    expected = ModelShape(
        name="gpt-oss-20b",
        family="gpt_oss",
        num_layers=24,
        hidden_size=2880,
        num_heads=64,
        num_kv_heads=8,
        head_dim=64,
        num_experts=32,
        top_k=4,
        expert_size=2880,
        vocab_size=201_088,
        max_positions=131_072,
        windows=(128, 0) * 12,
        rms_eps=1e-5,
        rope=Rope(
            theta=150_000.0,
            yarn=Yarn(
                factor=32.0,
                beta_fast=32.0,
                beta_slow=1.0,
                original_max_positions=4096,
                truncate=False,
                attention_factor=0.1 * math.log(32) + 1,
            ),
        ),
        attention_bias=True,
        norm_topk=True,
        tied_embeddings=False,
        swiglu_limit=7.0,
    )
    assert expected == catalogue("gpt-oss-20b")


@pytest.mark.parametrize(
    ("name", "per_expert", "experts_gb", "total", "kv_bytes"),
    [
        ("qwen3-30b-a3b", 4_718_592, 57.98, 30_532_122_624, 98_304),
        ("gpt-oss-20b", 24_883_200 + 8_640, 38.23, 20_914_757_184, 49_152),
        ("builtin-moe", 98_304, 0.20, 106_178_816, 8_192),
        ("qwen3-235b-a22b", 18_874_368, 454.19, 235_093_634_560, 192_512),
        ("gpt-oss-120b", 24_883_200 + 8_640, 229.40, 116_829_156_672, 73_728),
        ("mixtral-8x7b", 176_160_768, 90.19, 46_702_792_704, 131_072),
        ("olmoe-1b-7b", 6_291_456, 12.88, 6_919_161_856, 131_072),
        ("deepseek-v3", 44_040_192, 1307.82, 671_026_419_200, 70_272),
    ],
)
def test_counts_are_the_published_ones(
    name: str, per_expert: int, experts_gb: float, total: int, kv_bytes: int
) -> None:
    """Parameters and bfloat16 bytes agree with the sizes of the released checkpoints."""
    shape, held = catalogue(name), PRECISIONS["bfloat16"]
    assert per_expert == shape.params_per_expert
    assert experts_gb == round(all_expert_bytes(shape, held) / 1e9, 2)
    assert total == shape.total_params
    assert kv_bytes == shape.kv_bytes_per_token(held.value_bytes)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("qwen3-30b-a3b", 30.5),
        ("qwen3-235b-a22b", 235),
        ("gpt-oss-20b", 20.9),
        ("gpt-oss-120b", 116.8),
        ("mixtral-8x7b", 46.7),
        ("olmoe-1b-7b", 6.9),
        ("deepseek-v3", 671),
    ],
)
def test_models_have_the_parameters_that_are_published(name: str, billions: float) -> None:
    """To the digits that the model's authors give; DeepSeek's without the module that drafts."""
    digits = 0 if isinstance(billions, int) else 1
    assert billions == round(catalogue(name).total_params / 1e9, digits)


def test_deepseek_v3_has_the_published_geometry() -> None:
    """A latent for all heads, three dense layers, one shared expert beside 8 of 256 routed ones."""
    shape = catalogue("deepseek-v3")
    expected = Latent(query_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, value_dim=128)
    assert expected == shape.latent
    assert (61, 3, 58) == (shape.num_layers, shape.dense_layers, shape.moe_layers)
    assert (256, 8, 1) == (shape.num_experts, shape.top_k, shape.shared_experts)
    assert (128, 192, 2048, 18_432) == (
        shape.num_heads,
        shape.head_dim,
        shape.expert_size,
        shape.dense_size,
    )
    assert shape.rope.yarn is not None
    assert (40.0, 1.0) == (shape.rope.yarn.factor, shape.rope.yarn.attention_factor)


def test_every_tensor_of_a_deepseek_layer_is_counted() -> None:
    """By the names of the checkpoint, dimensions multiplied out; the router has a bias."""
    shape = catalogue("deepseek-v3")
    projections = {
        "q_a_proj": 1536 * 7168,
        "q_b_proj": 128 * 192 * 1536,
        "kv_a_proj_with_mqa": 576 * 7168,
        "kv_b_proj": 128 * 256 * 512,
        "o_proj": 7168 * 128 * 128,
    }
    assert sum(projections.values()) == shape.projection_params
    assert sum(projections.values()) + 1536 + 512 == shape.attention_params
    assert projections["kv_b_proj"] == shape.expansion_params
    assert 256 * 7168 + 256 == shape.router_params
    assert 3 * 7168 * 18_432 == shape.dense_params
    assert 3 * 7168 * 2048 == shape.shared_params == shape.params_per_expert


def test_queries_that_are_not_compressed_are_projected_at_once() -> None:
    """DeepSeek's smaller models have no `q_lora_rank`."""
    shape = ModelShape.from_config(changed("deepseek-v3", q_lora_rank=None), name="d")
    compressed = 1536 * (7168 + 128 * 192)
    less = catalogue("deepseek-v3").projection_params - shape.projection_params
    assert compressed - 7168 * 128 * 192 == less


def test_a_deepseek_model_without_dense_layers_or_shared_experts() -> None:
    """Zero of either is a number like any other."""
    config = changed("deepseek-v3", first_k_dense_replace=0, n_shared_experts=0)
    shape = ModelShape.from_config(config, name="d")
    assert (61, 0, 0) == (shape.moe_layers, shape.dense_params, shape.shared_params)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("qwen3-30b-a3b", (128, 128, 128, 128, 0, 1024)),
        ("gpt-oss-20b", (64, 64, 64, 64, 0, 1024)),
        ("mixtral-8x7b", (128, 128, 128, 128, 0, 2048)),
        ("olmoe-1b-7b", (128, 128, 128, 128, 0, 4096)),
        ("deepseek-v3", (192, 128, 576, 512, 16_777_216, 576)),
    ],
)
def test_widths_of_attention(name: str, expected: tuple[int, ...]) -> None:
    """Key and value as defined and with a latent attended to, its expansion, what is cached."""
    shape = catalogue(name)
    assert expected == (
        shape.key_width,
        shape.value_width,
        shape.absorbed_key_width,
        shape.absorbed_value_width,
        shape.expansion_params,
        shape.kv_values,
    )


def test_norms_of_queries_and_keys() -> None:
    """Qwen3-MoE's are as wide as a head, OLMoE's as all heads together, Mixtral has none."""
    found = {}
    for name in ("qwen3-30b-a3b", "olmoe-1b-7b", "mixtral-8x7b"):
        shape = catalogue(name)
        norms = shape.attention_params - shape.projection_params
        found[name] = (shape.has_qk_norm, shape.has_full_qk_norm, norms)
    expected = {
        "qwen3-30b-a3b": (True, False, 2 * 128),
        "olmoe-1b-7b": (True, True, 2 * 2048),
        "mixtral-8x7b": (False, False, 0),
    }
    assert expected == found


def test_windows_of_mixtral_hold_for_all_layers() -> None:
    """A `sliding_window` that is not null is every layer's."""
    shape = ModelShape.from_config(changed("mixtral-8x7b", sliding_window=4096), name="m")
    assert (4096,) * 32 == shape.windows


def test_tied_embeddings_count_once() -> None:
    """A model that ties its head to the embedding is smaller by one of them."""
    tied = ModelShape.from_config(changed("builtin-moe", tie_word_embeddings=True), name="tied")
    embedding = 4096 * 256
    assert embedding == catalogue("builtin-moe").total_params - tied.total_params


def test_the_families_differ_in_what_their_layers_hold() -> None:
    """Only GPT-OSS has sinks and expert biases, only Qwen3-MoE norms heads."""
    qwen, oss = catalogue("qwen3-30b-a3b"), catalogue("gpt-oss-20b")
    assert qwen.has_qk_norm
    assert not qwen.has_sinks
    assert not qwen.has_expert_bias
    assert not oss.has_qk_norm
    assert oss.has_sinks
    assert oss.has_expert_bias


@pytest.mark.parametrize("name", ["qwen3-30b-a3b", "gpt-oss-20b"])
def test_both_styles_of_rope_keys_mean_the_same(name: str) -> None:
    """`rope_parameters` of transformers 5 reads like `rope_theta` and `rope_scaling`."""
    old = read_json(name)
    scaling = old["rope_scaling"] or {"rope_type": "default"}
    assert isinstance(scaling, dict)
    rope_parameters = {**scaling, "rope_theta": old["rope_theta"]}
    new = changed(name, rope_scaling=..., rope_theta=..., rope_parameters=rope_parameters)
    assert catalogue(name) == ModelShape.from_config(new, name=name)


def test_the_experts_of_qwen3_may_go_by_the_newer_key() -> None:
    """What the release calls `num_experts` is `num_local_experts` as of transformers 5.23."""
    config = changed("qwen3-30b-a3b", num_experts=..., num_local_experts=128)
    assert catalogue("qwen3-30b-a3b") == ModelShape.from_config(config, name="qwen3-30b-a3b")


def test_absent_rope_keys_mean_what_transformers_takes_them_to_mean() -> None:
    """Without rope keys Qwen3-MoE is plain with theta 10000, GPT-OSS stretched by YaRN."""
    qwen = changed("qwen3-30b-a3b", rope_scaling=..., rope_theta=...)
    oss = changed("gpt-oss-20b", rope_scaling=..., rope_theta=...)
    assert Rope(theta=10_000.0) == ModelShape.from_config(qwen, name="q").rope
    assert catalogue("gpt-oss-20b").rope == ModelShape.from_config(oss, name="o").rope


def test_yarn_of_qwen3_takes_its_defaults() -> None:
    """YaRN as Qwen documents it for longer prompts: only factor and original length are given."""
    scaling = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32_768}
    shape = ModelShape.from_config(changed("qwen3-30b-a3b", rope_scaling=scaling), name="q")
    expected = Yarn(
        factor=4.0,
        beta_fast=32.0,
        beta_slow=1.0,
        original_max_positions=32_768,
        truncate=True,
        attention_factor=0.1 * math.log(4) + 1,
    )
    assert expected == shape.rope.yarn


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"attention_factor": 1.5}, 1.5),
        ({"mscale": 1.0, "mscale_all_dim": 1.0}, 1.0),
        ({"mscale": 2.0, "mscale_all_dim": 1.0}, (0.2 * math.log(4) + 1) / (0.1 * math.log(4) + 1)),
        ({"mscale": 2.0}, 0.1 * math.log(4) + 1),
    ],
)
def test_attention_factor_of_yarn(extra: dict[str, float], expected: float) -> None:
    """A given factor wins, then the ratio of the two scales, then the paper's formula."""
    scaling = {"rope_type": "yarn", "factor": 4, **extra}
    shape = ModelShape.from_config(changed("qwen3-30b-a3b", rope_scaling=scaling), name="q")
    assert shape.rope.yarn is not None
    assert pytest.approx(expected) == shape.rope.yarn.attention_factor


def test_the_original_length_of_yarn_is_the_full_one_unless_given() -> None:
    """The key at the top of config.json wins over the one among the rope keys."""
    scaling = {"rope_type": "yarn", "factor": 4}
    inner = {**scaling, "original_max_position_embeddings": 8192}
    for changes, expected in (
        ({"rope_scaling": scaling}, 40_960),
        ({"rope_scaling": inner}, 8192),
        ({"rope_scaling": inner, "original_max_position_embeddings": 4096}, 4096),
    ):
        shape = ModelShape.from_config(changed("qwen3-30b-a3b", **changes), name="q")
        assert shape.rope.yarn is not None
        assert expected == shape.rope.yarn.original_max_positions


def test_a_sliding_window_of_qwen3_holds_for_all_layers() -> None:
    """`use_sliding_window` switches `sliding_window` on, for every layer."""
    config = changed("builtin-moe", use_sliding_window=True, sliding_window=64)
    expected = (64,) * 16
    assert expected == ModelShape.from_config(config, name="q").windows


def test_windows_of_gpt_oss_alternate_by_default() -> None:
    """Without `layer_types` even layers slide."""
    config = changed("gpt-oss-20b", layer_types=...)
    expected = (128, 0) * 12
    assert expected == ModelShape.from_config(config, name="o").windows


def test_head_dim_of_qwen3_follows_from_the_heads() -> None:
    """Without `head_dim` a head is hidden size over heads wide."""
    shape = ModelShape.from_config(changed("builtin-moe", head_dim=...), name="builtin-moe")
    assert catalogue("builtin-moe") == shape


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": ...}, f"unknown model_type None; known: {KNOWN}"),
        ({"model_type": ["x"]}, f"unknown model_type ['x']; known: {KNOWN}"),
        ({"model_type": "jamba"}, f"unknown model_type 'jamba'; known: {KNOWN}"),
        (
            {"model_type": "llama", "num_experts": ...},
            (
                "unknown model_type 'llama' (no Mixture-of-Experts model: it names no experts); "
                f"known: {KNOWN}"
            ),
        ),
        (
            {"architectures": ["Qwen3MoeModel"]},
            (
                "architectures is ['Qwen3MoeModel']; accepted: "
                "['Qwen3MoeForCausalLM'] for model_type 'qwen3_moe'"
            ),
        ),
        ({"hidden_size": ...}, "config.json has no hidden_size"),
        ({"vocab_size": None}, "config.json has no vocab_size"),
        ({"num_experts": ...}, "config.json has no num_experts"),
        ({"num_experts": 0}, "num_experts is 0; accepted: a whole number, 1 or more"),
        ({"hidden_size": "256"}, "hidden_size is '256'; accepted: a whole number, 1 or more"),
        ({"hidden_size": 256.0}, "hidden_size is 256.0; accepted: a whole number, 1 or more"),
        ({"hidden_size": True}, "hidden_size is True; accepted: a whole number, 1 or more"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0; accepted: a whole number, 1 or more"),
        (
            {"num_experts_per_tok": 65},
            "num_experts_per_tok is 65; accepted: a whole number, 1 to 64",
        ),
        (
            {"num_key_value_heads": 3},
            "num_key_value_heads is 3; accepted: a divisor of 4 attention heads",
        ),
        (
            {"head_dim": 63},
            "head_dim is 63; accepted: an even number, as rotary embeddings turn pairs",
        ),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0; accepted: a number above 0"),
        ({"rms_norm_eps": math.nan}, "rms_norm_eps is nan; accepted: a number above 0"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps is 'small'; accepted: a number above 0"),
        ({"norm_topk_prob": 1}, "norm_topk_prob is 1; accepted: true or false"),
        (
            {"mlp_only_layers": [0]},
            "mlp_only_layers is [0]; accepted: [], as dense layers are not supported",
        ),
        (
            {"decoder_sparse_step": 2},
            "decoder_sparse_step is 2; accepted: 1, as dense layers are not supported",
        ),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'; accepted: 'silu'"),
        ({"use_sliding_window": True}, "config.json has no sliding_window"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5; accepted: 1.0"),
        ({"rope_parameters": 5}, "rope_parameters is 5; accepted: an object"),
        (
            {"rope_parameters": {"full_attention": {}}},
            "rope_parameters is {'full_attention': {}}; accepted: one set of values for all layers",
        ),
        (
            {"rope_parameters": {"partial_rotary_factor": 0.5}},
            "rope_parameters.partial_rotary_factor is 0.5; accepted: 1.0",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3"}},
            "rope_parameters.rope_type is 'llama3'; accepted: 'default' or 'yarn'",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling.type is 'linear'; accepted: 'default' or 'yarn'",
        ),
        ({"rope_parameters": {"rope_type": "yarn"}}, "config.json has no rope_parameters.factor"),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 0.5}},
            "rope_parameters.factor is 0.5; accepted: a number, 1 or more",
        ),
        (
            {"rope_parameters": {"rope_theta": -1}},
            "rope_parameters.rope_theta is -1; accepted: a number above 0",
        ),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(changes: dict[str, object], message: str) -> None:
    """The refusal names the model, the key, its value and what is accepted."""
    config = changed("builtin-moe", **changes)
    assert f"model 'm': {message}" == refusal(lambda: ModelShape.from_config(config, name="m"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": ...}, "config.json has no head_dim"),
        ({"swiglu_alpha": 1.5}, "swiglu_alpha is 1.5; accepted: 1.702"),
        ({"sliding_window": None}, "config.json has no sliding_window"),
        (
            {"layer_types": ["full_attention"]},
            (
                "layer_types is ['full_attention']; accepted: a list of 24, each "
                "sliding_attention or full_attention"
            ),
        ),
        (
            {"layer_types": ["linear_attention"] * 24},
            (
                "layer_types is ['linear_attention', 'linear_attention', 'linear_attention', "
                "'linear_attention', 'linear_attention', 'linear_attention', ...]; accepted: a "
                "list of 24, each sliding_attention or full_attention"
            ),
        ),
    ],
)
def test_a_gpt_oss_config_that_cannot_be_run_is_refused(
    changes: dict[str, object], message: str
) -> None:
    """GPT-OSS's own keys are checked too."""
    config = changed("gpt-oss-20b", **changes)
    assert f"model 'm': {message}" == refusal(lambda: ModelShape.from_config(config, name="m"))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "mixtral-8x7b",
            {"attention_bias": True},
            "attention_bias is True; accepted: False",
        ),
        (
            "olmoe-1b-7b",
            {"num_attention_heads": 4096},
            "num_attention_heads is 4096; accepted: a whole number, 1 to 2048",
        ),
        ("deepseek-v3", {"kv_lora_rank": None}, "config.json has no kv_lora_rank"),
        (
            "deepseek-v3",
            {"q_lora_rank": 0},
            "q_lora_rank is 0; accepted: a whole number, 1 or more",
        ),
        (
            "deepseek-v3",
            {"qk_rope_head_dim": 63},
            "qk_rope_head_dim is 63; accepted: an even number, as rotary embeddings turn pairs",
        ),
        (
            "deepseek-v3",
            {"first_k_dense_replace": 61},
            "first_k_dense_replace is 61; accepted: a whole number, 0 to 60",
        ),
        (
            "deepseek-v3",
            {"n_shared_experts": -1},
            "n_shared_experts is -1; accepted: a whole number, 0 or more",
        ),
        (
            "deepseek-v3",
            {"moe_layer_freq": 2},
            "moe_layer_freq is 2; accepted: 1, as dense layers stand at the start only",
        ),
        ("deepseek-v3", {"n_routed_experts": None}, "config.json has no num_experts"),
    ],
)
def test_a_config_of_a_modelled_family_that_is_impossible_is_refused(
    name: str, changes: dict[str, object], message: str
) -> None:
    """The keys of the families that are modelled only are checked as the others'."""
    config = changed(name, **changes)
    assert f"model 'm': {message}" == refusal(lambda: ModelShape.from_config(config, name="m"))


def test_full_attention_needs_no_window() -> None:
    """A GPT-OSS model without sliding layers may leave `sliding_window` out."""
    config = changed("gpt-oss-20b", sliding_window=None, layer_types=["full_attention"] * 24)
    expected = (0,) * 24
    assert expected == ModelShape.from_config(config, name="o").windows


@given(
    name_and_key=st.sampled_from(
        [
            (name, key)
            for name in ("builtin-moe", "mixtral-8x7b", "olmoe-1b-7b", "deepseek-v3")
            for key in sorted(read_json(name))
        ]
    ),
    value=st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.floats()
    | st.text(max_size=3)
    | st.lists(st.integers(), max_size=2)
    | st.dictionaries(st.sampled_from(["rope_type", "factor"]), st.integers(), max_size=2),
)
def test_any_value_of_a_key_gives_a_shape_or_a_refusal(
    name_and_key: tuple[str, str], value: object
) -> None:
    """Whatever stands in a config, nothing but InputError is raised."""
    name, key = name_and_key
    message = ""
    try:
        ModelShape.from_config(changed(name, **{key: value}), name="m")
    except InputError as error:
        message = str(error)
    assert "\n" not in message


def test_read_config_returns_the_object(tmp_path: Path) -> None:
    """A folder's config.json is returned as it stands."""
    expected = {"model_type": "qwen3_moe", "num_experts": 4}
    (tmp_path / "config.json").write_text(json.dumps(expected))
    assert expected == read_config(tmp_path)


@pytest.mark.parametrize(
    ("name", "what"),
    [("no", "does not exist;"), ("file", "is not a folder;"), ("empty", "has no config.json;")],
)
def test_read_config_refuses_what_is_no_checkpoint(tmp_path: Path, name: str, what: str) -> None:
    """No folder, a file, and a folder without config.json each get their own line."""
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    expected = f"model folder '{tmp_path / name}' {what} give a Hugging Face checkpoint"
    assert expected == refusal(lambda: read_config(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot be read as JSON: Expecting property name"),
        (b"\xff", "cannot be read as JSON: 'utf-8' codec can't decode"),
        (b"[1]", "must hold a JSON object, not [1]"),
    ],
)
def test_read_config_refuses_what_is_no_json_object(
    tmp_path: Path, content: bytes, message: str
) -> None:
    """A config.json that is damaged or not an object is refused with its path."""
    (tmp_path / "config.json").write_bytes(content)
    line = refusal(lambda: read_config(tmp_path))
    assert line.startswith(f"'{tmp_path / 'config.json'}' {message}")
