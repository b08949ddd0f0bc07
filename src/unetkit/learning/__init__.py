"""Other ways to learn: without forgetting, from an earlier model, from what it was shown."""
