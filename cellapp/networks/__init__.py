"""Networks: torch.nn only. They know nothing of files, names, devices or normalisation."""
