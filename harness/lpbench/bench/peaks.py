"""The device of a run as the roofline takes it: its peaks measured here and now.

Owns: the choice of the measurement by device, the form of its result.
Must not know: how it is measured, what is made of it.
"""

from lpbench.bench.cpu import measure_cpu
from lpbench.shape.device import Device

MEASURED = "measured"
"""The name of such a device."""


def measure_device(name: str) -> Device:
    """Measure "cpu" or a GPU such as "cuda:0" and return it as a device; takes some seconds.

    Of a GPU its bandwidth is that of a copy, its rates those of one large product.
    """
    if name == "cpu":
        return measure_cpu(name=MEASURED)
    from lpbench.executors.torch_engine.peaks import GPU_ROWS, measure_gpu_peaks

    peaks = measure_gpu_peaks(name)
    product = f"a product of square matrices of {GPU_ROWS} rows, between CUDA events"
    return Device(
        name=MEASURED,
        cuda_names=(),
        memory_bandwidth=peaks.copy,
        memory_bytes=peaks.memory_bytes,
        bf16_flops=peaks.flops["bfloat16"],
        fp32_flops=peaks.flops["float32"],
        sources={
            "memory_bandwidth": f"a copy of {peaks.buffer_bytes} bytes, between CUDA events",
            "memory_bytes": "CUDA device properties",
            "bf16_flops": product,
            "fp32_flops": product,
        },
    )
