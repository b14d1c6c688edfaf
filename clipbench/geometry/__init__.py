"""The loss around a point: slope and curvature along directions, measured without leaving a trace."""
