"""A brain cohort that knows its own truth: real anatomy, planted disease, scanners that differ.

options      keys of the config                        population   patients: age, sex, dose of disease, label, site
anatomy      one head, shared by a patient's scans     acquisition  one scan of a head
grid         voxel grids and interpolation             records      tables, and planted leaks and wrong labels
generate     the whole cohort, written to files
"""
