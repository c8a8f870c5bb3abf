"""The machine at hand, as far as plans depend on it."""

from pipeline.scans.planning.training import CPU, GPU_24, Machine


def machine_at_hand() -> Machine:
    """Its first GPU, else the reference CPU: how many cores happen to be free must not change a plan."""
    import torch

    if not torch.cuda.is_available():
        return CPU
    memory_gb = torch.cuda.get_device_properties(0).total_memory / 1e9
    return Machine("gpu", memory_gb=round(memory_gb), voxels_per_second=GPU_24.voxels_per_second)
