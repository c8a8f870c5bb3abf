"""From a table of predictions to figures that can be trusted: tables in, numbers out, no torch.

predictions   reading, checking, one row a scan or a patient
pooling       several folds and seeds as one, each model calibrated first
sample, ranking
              the arrays of one split at one level; Weighted, the same under resampling weights
discrimination, decisions, calibration, brier_parts
              figures, each a function of a Weighted sample: shape (R, n) weights -> (R,) values
catalogue     which figures are reported, and which interval suits each
bootstrap, obuchowski, intervals
              how far a figure could be from the truth
operating_point, calibrators, conformal, frozen
              whatever is fitted, on validation only
estimates     value, interval, number of patients or the reason why not
power         what a sample of this size can show
models        each fold's and seed's model by itself
ordinal, multilabel, tasks
              grades in order, and several labels a scan
comparison, pairing, mcnemar, revisions
              differences between experiments on the same patients
external      a frozen run on another cohort
looks         how often the test set was judged
background, held_out, subgroups, unseen_sites, floors
              differences between kinds of patients, and what is reached without the image
audits        is the model right for the right reasons?
plots, decision_curve
              tables behind the curves
evaluating, writing
              the whole table -> all of these -> files
"""
