"""What users train: one base for all sequence estimators, and a small face for each kind of answer."""
