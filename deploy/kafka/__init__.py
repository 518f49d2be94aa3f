"""What each service may do in a Kafka that asks who one is."""
