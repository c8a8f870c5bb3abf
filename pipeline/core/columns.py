"""Names of columns, and of values in them that mean something, once."""

SCAN_ID, PATIENT_ID, PATH, LABEL = "scan_id", "patient_id", "path", "label"
SPLIT, FOLD, SEED = "split", "fold", "seed"
CROP_MASK, CROP_CENTER_MM = "crop_mask", "crop_center_mm"
DEVELOPMENT, TRAIN, VAL, TEST = "development", "train", "val", "test"
NESTED = "nested"
"""`split` of a nested division: its parts are numbered in `fold`, and fold `outer * (parts - 1) + inner` tests one."""
PROB_PREFIX = "prob_"
CHANGE, UNCHANGED, MASKED = "change", "none", "body masked out"
REACQUIRED = ("resampled", "noisier", "bias field")
"""Changes that another scanner or protocol would make."""
"""The column of changes.csv that names a change of the scan, and two of its values that are no harmless ones."""
LABEL_SEPARATOR, NO_LABEL = ";", "none"
"""Between the classes of a scan that shows several, and the label of one that shows none of them."""
HISTORY_COLUMNS = ("epoch", "step", "train_loss", "val_loss", "val_auroc", "learning_rate")
"""Of history.csv, a row an epoch."""
CONFUSION = ("actual", "predicted")
"""Columns of the confusion table, both classes; in other tables `predicted` is a probability."""
TEXT = (SCAN_ID, PATIENT_ID, LABEL, "class", "covariate", "category", "group", "name", "suggested")
"""Columns that are always text: an id, a class or a group may be called '1', 'True' or 'None'."""
