"""PET: the factor from the values of a DICOM file to SUV by body weight.

SUV = activity concentration (Bq/ml) · body weight (g) / dose (Bq) at the time to which the scan is decay corrected.
"""

from datetime import datetime, timedelta
from pathlib import Path

import pydicom

from pipeline.imaging.problems import Findings

PHILIPS_SUV, PHILIPS_BQML = (0x7053, 0x1000), (0x7053, 0x1009)
"""Philips' own tags, as https://qibawiki.rsna.org has them: counts to SUV, or to Bq/ml; zero where they are unknown."""


def suv_factor(path: Path, found: pydicom.Dataset, findings: Findings) -> float:
    """1 for what is not PET or is in SUV already; PET whose attributes do not suffice is rejected, each named."""
    if found.get("Modality") != "PT":
        return 1.0
    units, kind = found.get("Units") or "missing", found.get("SUVType") or "BW"
    if units == "GML" and kind == "BW":
        return 1.0
    to_suv, to_bqml = (private_factor(found, tag) if units == "CNTS" else 0.0 for tag in (PHILIPS_SUV, PHILIPS_BQML))
    if to_suv:
        return to_suv
    if units != "BQML" and not to_bqml:
        findings.reject("DCM-SUV", f"Units {units}{f' with SUVType {kind}' if units == 'GML' else ''} in {path.name}")
    try:
        return body_weight_factor(found) * (to_bqml or 1.0)
    except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
        findings.reject("DCM-SUV", f"Units {units}, {str(error).strip(chr(39)) or type(error).__name__} in {path.name}")


def private_factor(found: pydicom.Dataset, tag: tuple[int, int]) -> float:
    """The positive number of a private tag, as bytes where its type is unknown; 0 if it is missing or anything else."""
    value = found[tag].value if tag in found else None
    try:
        factor = float(value.strip(b"\0 ") if isinstance(value, bytes) else value)
    except (TypeError, ValueError):
        return 0.0
    return factor if 0 < factor < float("inf") else 0.0


def body_weight_factor(found: pydicom.Dataset) -> float:
    """SUV of 1 Bq/ml; ValueError names what is missing or impossible."""
    dose = next(iter(found.get("RadiopharmaceuticalInformationSequence") or []), pydicom.Dataset())
    weight_kg = positive(found, "PatientWeight")
    injected_bq = positive(dose, "RadionuclideTotalDose")
    if "DECY" not in str(found.get("CorrectedImage", "DECY")):
        raise ValueError("CorrectedImage without DECY")
    correction = found.get("DecayCorrection") or "missing"
    if correction == "ADMIN":
        return weight_kg * 1000 / injected_bq
    if correction != "START":
        raise ValueError(f"DecayCorrection {correction}")
    # https://qibawiki.rsna.org, "Standardized Uptake Value": series time, unless software wrote the series again later.
    start, injected = moment(found, "Series"), injection(found, dose)
    if start > moment(found, "Acquisition"):
        raise ValueError(f"SeriesTime {found.SeriesTime} after AcquisitionTime {found.AcquisitionTime}")
    if injected > start:
        injected -= timedelta(days=1)
    elapsed_s = (start - injected).total_seconds()
    if elapsed_s > 86400:
        raise ValueError(f"{elapsed_s / 3600:.0f} h between injection and scan")
    decay = 2 ** (-elapsed_s / positive(dose, "RadionuclideHalfLife"))
    return weight_kg * 1000 / (injected_bq * decay)


def positive(source: pydicom.Dataset, tag: str) -> float:
    value = source.get(tag)
    if value is None or value == "" or not 0 < float(value) < float("inf"):
        raise ValueError(f"{tag} {'missing' if value in (None, '') else value}")
    return float(value)


def injection(found: pydicom.Dataset, dose: pydicom.Dataset) -> datetime:
    """Of the whole date and time where it is given, else of the time on the day of the scan."""
    whole = dose.get("RadiopharmaceuticalStartDateTime")
    if whole:
        return parse_moment("RadiopharmaceuticalStartDateTime", str(whole))
    time = dose.get("RadiopharmaceuticalStartTime")
    if not time:
        raise ValueError("RadiopharmaceuticalStartTime missing")
    return parse_moment("RadiopharmaceuticalStartTime", f"{found.get('SeriesDate')}{time}")


def moment(found: pydicom.Dataset, of: str) -> datetime:
    date, time = found.get(f"{of}Date") or found.get("SeriesDate"), found.get(f"{of}Time")
    if not date or not time:
        raise ValueError(f"{of}Date or {of}Time missing")
    return parse_moment(f"{of}Time", f"{date}{time}")


def parse_moment(tag: str, text: str) -> datetime:
    """`20240131101500.25`, without a time zone: all times of a file are in the same one."""
    digits = text.partition("+")[0].partition("-")[0].partition(".")[0]
    try:
        return datetime.strptime(digits.ljust(14, "0")[:14], "%Y%m%d%H%M%S")
    except ValueError:
        raise ValueError(f"{tag} {text}") from None
