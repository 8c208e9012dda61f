"""A participant's side of the leaderboard: joining, live progress, submissions."""
