"""From the store to batches: order, augmentation, dataset and datamodule."""
