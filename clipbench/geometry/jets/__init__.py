"""Second-order Taylor jets: a forward pass that carries value, slope and curvature along K directions at once."""
