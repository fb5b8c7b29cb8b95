"""What operators can measure of a node, in Prometheus' words; the parts only tell what happens."""
