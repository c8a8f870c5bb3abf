"""From a table of predictions to figures that can be trusted: tables in, numbers out, no torch.

    predictions   reading, checking, folding folds together, one row a patient
    sample        the arrays of one split at one level; Weighted, the same under resampling weights
    discrimination, decisions, calibration
                  figures, each a function of a Weighted sample: shape (R, n) weights -> (R,) values
    bootstrap, obuchowski, intervals
                  how far a figure could be from the truth
    operating_point, calibrators
                  whatever is fitted, on validation only
    estimates     value, interval, number of patients or the reason why not
    evaluating    the whole table -> metrics, operating points, calibration, plot tables
    comparison, subgroups
                  differences between experiments, and between kinds of patients
"""
