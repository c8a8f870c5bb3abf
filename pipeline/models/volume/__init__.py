"""2D networks on volumes: `wrap` builds a registered network under a volume mode."""

from pipeline.models.volume.wrap import MODES, NetworkBuilder, has_3d_twin, modes_of, wrap

__all__ = ["MODES", "NetworkBuilder", "has_3d_twin", "modes_of", "wrap"]
