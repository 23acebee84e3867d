"""What every training run shares: its folder, batches, metrics, checkpoint, card and checks."""
