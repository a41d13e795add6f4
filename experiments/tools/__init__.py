"""What experiments share, and programs beside them."""
