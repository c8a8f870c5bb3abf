"""The same figures by kind of patient, site, fitted model, grade, threshold and rule."""
