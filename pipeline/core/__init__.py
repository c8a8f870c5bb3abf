"""What every folder needs: paths, columns, files, folds, provenance. Imports nothing else of this package."""
