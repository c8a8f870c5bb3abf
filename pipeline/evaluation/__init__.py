"""From a table of predictions to figures that can be trusted: tables in, numbers out, no torch.

predictions   reading, checking, folding folds together, one row a patient
sample, ranking
              the arrays of one split at one level; Weighted, the same under resampling weights
discrimination, decisions, calibration
              figures, each a function of a Weighted sample: shape (R, n) weights -> (R,) values
catalogue     which figures are reported, and which interval suits each
bootstrap, obuchowski, intervals
              how far a figure could be from the truth
operating_point, calibrators
              whatever is fitted, on validation only
estimates     value, interval, number of patients or the reason why not
comparison    differences between experiments
background, held_out, subgroups, floors
              differences between kinds of patients, and what is reached without the image
audits        is the model right for the right reasons?
plots         tables behind the curves
evaluating, writing
              the whole table -> all of these -> files
"""
