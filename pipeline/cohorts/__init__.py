"""Cohorts: fetch scans and labels from a source, check them, and write one verified row per scan.

sources/       where scans and labels come from        label_table   the user's table: read, check, select columns
scan_index     the files of each row, and their checks  classes       class names in order
ingest         all checks together                      write         cohort.csv and ingest.json
init_config    a first config for a new cohort          bids          rows of a BIDS dataset
"""
