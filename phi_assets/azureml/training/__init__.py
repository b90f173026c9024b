"""The fine-tuning job, exactly once: from its identity to its proven output."""
