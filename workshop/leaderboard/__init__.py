"""The shared leaderboard: one server that scores every model itself and shows the ranks live."""
