"""Where scans and labels come from: a generated phantom, MedMNIST3D, or a folder and a table of one's own.

`fetching.fetch_cohort` is the door; each source fills a staging folder that is then put in place as a whole.
"""
