"""What arrives: requests, their prompts, and the experts that are drawn for them."""
