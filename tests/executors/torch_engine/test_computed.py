from lpbench.executors.torch_engine.checkpoint import _LAYOUTS
from lpbench.executors.torch_engine.computed import COMPUTED_FAMILIES, is_computed
from lpbench.shape.catalogue import find_shape, model_names


def test_the_families_are_those_whose_checkpoints_are_read() -> None:
    """The list that needs no torch is the one that does."""
    assert COMPUTED_FAMILIES == tuple(_LAYOUTS)


def test_the_other_families_are_modelled_only() -> None:
    """Of the catalogue, DeepSeek's, Mixtral's and OLMoE's."""
    shapes = [find_shape(name)[0] for name in model_names()]
    modelled = {shape.family for shape in shapes if not is_computed(shape)}
    assert {"deepseek_v3", "mixtral", "olmoe"} == modelled
