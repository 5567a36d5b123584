"""The online server: listeners, workers, configuration, health, metrics and the operators' tools."""
