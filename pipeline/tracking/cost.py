"""What a training took."""

import pandas as pd


def cost_of(steps: pd.DataFrame, *, assumed_watts: float) -> dict[str, float]:
    """Hours, peak memory and an estimate of the energy from an assumed draw, by the rows of steps.csv."""
    if steps.empty:
        return {}
    hours = float(steps["elapsed_seconds"].iloc[-1]) / 3600
    return {
        "cost/hours": hours,
        "cost/peak_memory_mb": float(steps["memory_mb"].max()),
        "cost/assumed_watts": assumed_watts,
        "cost/energy_kwh_estimate": hours * assumed_watts / 1000,
    }
