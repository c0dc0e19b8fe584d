"""Training in real processes: Ray workers, torchrun, drivers that are killed."""
