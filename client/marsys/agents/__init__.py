"""What agents share with models: the exceptions."""
