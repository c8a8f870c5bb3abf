"""2D networks on volumes: `wrap` builds a registered network under a volume mode."""

from pipeline.models.volume.wrap import MODES, NetworkBuilder, supports_3d, volume_modes, wrap

__all__ = ["MODES", "NetworkBuilder", "supports_3d", "volume_modes", "wrap"]
