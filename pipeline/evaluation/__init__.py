"""From a table of predictions to numbers with intervals: tables in, tables out, no torch.

How a row of predictions.csv becomes a number in metrics.json, noun by noun:

    predictions     a checked table: scan_id, patient_id, fold, seed, split, label, prob_<class>…
      | units_by_level                  per level: one row per model and scan, or per model and patient
      v
    units           of every model, at the levels `scan` and `patient`
      | fit_on_validation               a calibration per model, the threshold, conformal sets: FittedOnValidation
      | ensemble_models                 calibrate each model, average the models: EnsemblePredictions
      v
    LevelResult     one split at one level, as rows and as a Sample, before and after calibration
      | sample_of                       labels (n,), probs (n, K), patients (n,), folds (n,), threshold
      v
    Sample          what metrics see; `sample.weighted(weights)` is the same under R resamples: Weighted
      | select_metrics                  the registered Metrics that apply: `metric.fn(weighted)` -> (R,)
      | metric.interval.compute         the interval by the metric's method, or the reason why there is none
      v
    Estimate        value, low, high, num_patients, reason: one Entry of metrics.json

    Evaluation      all of it: metrics, fitted rules, plot tables, metrics by model, subgroups, baselines

Modules, in the order in which they build on each other:

predictions, cv_design      the table, and which folds are nested or repeated parts
sample                      Sample, Weighted, Ranking
uncertainty/                bootstrap, variances, intervals, and `methods`: the interval method of each metric
registry, metrics/          what is reported: one decorated function per metric
calibration, operating_point, conformal, decision_rule, ensembling
                            what is fitted on validation, and how models are averaged
covariates, subgroups, baselines, calibration_curve, curves, models_table, case_mix
                            tables beside the metrics
evaluate                    one cross-validation part -> Evaluation
cross_validation, multilabel, external, one_vs_rest
                            the same for nested or repeated parts, several labels per scan, another cohort
pairing, comparison         differences between experiments on the same patients
headline                    the panel of figures to read first, selected from all of them
inputs, outputs, locked_test_set
                            files in, files out, and the count of test set evaluations
completeness, near_twins, study
                            failed scans in the denominator, test patients without a twin in training; all together
audits/                     is the model right for the right reasons?
"""
