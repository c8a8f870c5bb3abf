"""Section `explanation`: attribution maps."""

from typing import Literal

from pydantic import NonNegativeInt

from pipeline.config.section import Section


class Explanation(Section):
    """Attribution maps."""

    num_scans: NonNegativeInt = 4
    """Test scans to explain, the most confident right and wrong ones first."""
    method: Literal["occlusion", "gradcam", "hirescam"] = "gradcam"
    """Grad-CAM on the last stage that keeps at least four tokens an axis; HiResCAM there, which weighs each place by
    itself and suits maxima; or occlusion by patches, for any network."""
