"""What customers are worth: pure functions over frozen values. Time is an argument, nothing is random."""
