"""Questions asked of a whole leaderboard: paths, correlations, stability of the ranking, tangent spaces, theory."""
