"""How weights are fitted: one loop for weights, one for weights and architecture."""
