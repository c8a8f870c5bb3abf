"""A brain cohort that knows its own truth: real anatomy, planted disease, scanners that disagree.

population   who: age, sex, dose of disease, label, site     template   the ICBM152 average brain
anatomy      one head, shared by all scans of a patient      lesion     the disease
acquisition  one scan                                        sites      scanners and how they differ
flaws        leaks, duplicates and wrong labels              generate   all of it, to files
"""
