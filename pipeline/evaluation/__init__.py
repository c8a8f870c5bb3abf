"""From a table of predictions to figures that can be trusted: tables in, numbers out, no torch.

tables        reading, checking, the arrays of one split at one level, what else is known of the patients
metrics       figures, each a function of a weighted sample
precision     which figures are reported and how far each could be from the truth
fitted        thresholds, calibration, conformal sets: chosen on validation, fitted, applied as they are
breakdowns    the same figures by kind of patient, site, fitted model, grade, threshold and rule
comparing     differences between experiments on the same patients
audits        is the model right for the right reasons?
multilabel, divided, tasks
              several labels a scan; nested and repeated cv_parts; which form of evaluation a table asks for
baselines        what is reached without the network
external      a fitted run on another cohort
evaluating, plots, writing
              the whole table -> all of these -> files
"""
