"""Batches for training: dataset, datamodule, sampler, augmentation."""
