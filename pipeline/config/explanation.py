"""Section `explanation`: attribution maps."""

from pydantic import NonNegativeInt

from pipeline.config.section import Section


class Explanation(Section):
    """Attribution maps."""

    num_scans: NonNegativeInt = 4
    """Test scans to explain, the most confident right and wrong ones first."""
    method: str = "gradcam"
    """gradcam: Grad-CAM on the last stage that keeps at least four tokens per axis; hirescam: HiResCAM there, which
    weighs each place by itself and suits maxima; occlusion: by patches, for any network; or a plugin's method."""
