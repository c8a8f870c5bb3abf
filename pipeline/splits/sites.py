"""Leave one site out: each fold is a site, so that validation asks what a new hospital would ask."""

from collections.abc import Mapping

import pandas as pd

from pipeline.core.columns import DEVELOPMENT, LABEL, TEST
from pipeline.core.errors import did_you_mean
from pipeline.splits.continuing import Place


def site_of_groups(table: pd.DataFrame, groups: pd.Series, site_column: str) -> dict[str, str]:
    """The one site of each group."""
    sites = table[site_column].astype(str).groupby(groups).unique()
    for group, found in sites.items():
        if len(found) > 1:
            raise ValueError(
                f"cohort.csv: the group of patient '{group}' was scanned at sites {', '.join(sorted(found))}, expected "
                "one; give those sites one name, or choose another split.scheme."
            )
    return {group: found[0] for group, found in sites.items()}


def places_of_sites(
    table: pd.DataFrame, groups: pd.Series, site_of: Mapping[str, str], in_test: set[str], earlier: Mapping[str, Place]
) -> dict[str, Place]:
    """Test for groups in `in_test`, else the fold of their site; sites seen earlier keep their number."""
    number_of = _earlier_numbers(site_of, earlier)
    for site in sorted({site for group, site in site_of.items() if group not in in_test} - set(number_of)):
        number_of[site] = max(number_of.values(), default=-1) + 1
    _check_classes(table, groups.map(site_of).where(~groups.isin(in_test)))
    return {
        group: (TEST, None) if group in in_test else (DEVELOPMENT, number_of[site]) for group, site in site_of.items()
    }


def _earlier_numbers(site_of: Mapping[str, str], earlier: Mapping[str, Place]) -> dict[str, int]:
    """The fold that each site was. Raises ValueError where patients came to other sites since."""
    pairs = {(site_of[group], fold) for group, (_, fold) in earlier.items() if fold is not None}
    for kind, number in (("site", 0), ("fold", 1)):
        names = [pair[number] for pair in pairs]
        for name in sorted(set(names)):
            if names.count(name) > 1:
                others = " and ".join(sorted(str(pair[1 - number]) for pair in pairs if pair[number] == name))
                raise ValueError(
                    f"splits.csv: patients of {kind} {name} were of {('fold', 'site')[number]}s {others}, expected "
                    "one: a site was corrected since; delete splits.csv to divide all patients anew."
                )
    return dict(pairs)


def groups_of_test_sites(site_of: Mapping[str, str], test_sites: tuple[str, ...]) -> set[str]:
    """Groups of the sites that are locked away by name."""
    for site in test_sites:
        if site not in site_of.values():
            known = sorted(set(site_of.values()))
            raise ValueError(
                f"split.test_sites: there is no site '{site}'.{did_you_mean(site, known)} Known: {', '.join(known)}."
            )
    return {group for group, site in site_of.items() if site in test_sites}


def _check_classes(table: pd.DataFrame, sites: pd.Series) -> None:
    """Every site that validates has every class."""
    counts = pd.crosstab(sites, table[LABEL])
    if len(counts) < 2:
        raise ValueError(
            f"splits: scheme sites needs two development sites, got {list(counts.index)}; use scheme folds."
        )
    for site, row in counts.iterrows():
        if (row == 0).any():
            raise ValueError(
                f"splits: site '{site}' has no scan of class '{row.index[row == 0][0]}', expected every class at every "
                "site; join it with another site, lock both away with split.test_sites, or use scheme folds."
            )
