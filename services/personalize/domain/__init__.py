"""What personalize decides: who may get which offer, which of them to make, and what feedback teaches. Pure."""
