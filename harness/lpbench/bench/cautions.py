"""What a reader of any run must know before trusting its numbers.

Owns: the warnings that follow from what runs and where, whatever is measured.
Must not know: passes, numbers.
"""

from lpbench.analysis.checks import cache_cautions, routing_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment
from lpbench.bench.prompts import RANDOM_IDS
from lpbench.record.schema import Caution
from lpbench.shape.precision import all_expert_bytes

COPYING = "torch bmm by blocks"
"""The kernel of the experts that copies their weights before it multiplies."""


def run_cautions(experiment: Experiment, engine: Engine) -> list[Caution]:
    """Return the warnings about routing, prompts, caches, kernels and the pool; it is loaded."""
    kernels = engine.facts.get("kernels")
    copying = isinstance(kernels, dict) and kernels.get("experts") == COPYING
    ignored = kernels.get("tiles_ignored") if isinstance(kernels, dict) else None
    message = f"the experts run as '{COPYING}', which copies weights: they are read more than once"
    return [
        *routing_cautions(
            routing=experiment.routing,
            drawn_weights=experiment.folder is None,
            random_ids=RANDOM_IDS in experiment.prompts.source,
        ),
        *cache_cautions(
            expert_bytes=all_expert_bytes(experiment.shape, engine.precision),
            cache_bytes=engine.cache_bytes,
        ),
        *([Caution(code="weights_copied", message=message)] if copying else []),
        *([Caution(code="tiles_ignored", message=str(ignored))] if ignored else []),
        *_pool_cautions(experiment, engine.num_kv_pages),
    ]


def _pool_cautions(experiment: Experiment, pages: int) -> list[Caution]:
    """Return whether the plans hang on how much memory happened to be free."""
    if experiment.num_kv_pages is not None or pages >= experiment.needs(None).all_pages:
        return []
    message = (
        f"the KV pool of {pages} pages is what the memory allowed just now, and the plans follow "
        f"from it: give --num-kv-pages {pages} to runs that are to be compared"
    )
    return [Caution(code="pool_from_memory", message=message)]
