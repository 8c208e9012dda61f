"""The leaderboard's tables. Times are milliseconds since 1970, UTC."""

import sqlalchemy as sa

metadata = sa.MetaData()
Time = sa.BigInteger
Key = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows only so

competition = sa.Table(
    "board_competition",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("data_digest", sa.Text),  # of the data set that the server scores on
    sa.Column("state", sa.Text, nullable=False),  # open, frozen, closed
    sa.Column("seed", sa.Text, nullable=False),  # hex; shown when closed
    sa.Column("seed_sha256", sa.Text, nullable=False),
    sa.Column("images_sha256", sa.Text),
    sa.Column("join_code", sa.Text, nullable=False),
    sa.Column("quota_per_hour", sa.Integer, nullable=False),
    sa.Column("created", Time, nullable=False),
    sa.Column("closed_at", Time),
    sa.Column("revision", sa.BigInteger, nullable=False),  # counts every change that is shown
    sa.Column("reference_scores", sa.Text, nullable=False),  # JSON
    sa.Column("rule", sa.Text, nullable=False),
)

participants = sa.Table(
    "board_participants",
    metadata,
    sa.Column("id", Key, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("skeleton", sa.Text, nullable=False, unique=True),
    sa.Column("token_sha256", sa.Text, nullable=False, unique=True),
    sa.Column("joined", Time, nullable=False),
    sa.Column("submissions", sa.Integer, nullable=False),  # how many they sent
    sa.Column("best_submission_id", sa.BigInteger),  # ranked
    sa.Column("unranked_submission_id", sa.BigInteger),  # the newest disqualified or suspect one
    sa.Column("revision", sa.BigInteger, nullable=False, index=True),
)

live_runs = sa.Table(
    "board_live_runs",
    metadata,
    sa.Column("id", Key, primary_key=True),
    sa.Column("participant_id", sa.BigInteger, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False, index=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),  # running, finished, failed, killed
    sa.Column("epochs", sa.Integer),
    sa.Column("params", sa.Text, nullable=False),  # JSON
    sa.Column("position", sa.Integer, nullable=False),  # how many points there are
    sa.Column("step", sa.BigInteger),  # the highest
    sa.Column("latest", sa.Text, nullable=False),  # JSON, metric: value
    sa.Column("started", Time, nullable=False),
    sa.Column("created", Time, nullable=False),  # when the server first heard of it
    sa.Column("updated", Time, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("mirrored_position", sa.Integer, nullable=False),
    sa.Column("mirrored_status", sa.Text),
    sa.UniqueConstraint("participant_id", "run_id"),
    sa.Index("board_live_runs_created", "participant_id", "created"),
    # PostgreSQL keeps every version of a row until a vacuum, hundreds a second here, unless what
    # changes is in no index and the page has room: then it clears them as it goes.
    sa.Index("ix_board_live_runs_revision", "revision").ddl_if(dialect="sqlite"),
    postgresql_with={"fillfactor": 50},
)

live_points = sa.Table(
    "board_live_points",
    metadata,
    sa.Column("live_run_id", sa.BigInteger, primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    sa.Column("metric", sa.Text, nullable=False),
    sa.Column("step", sa.BigInteger, nullable=False),
    sa.Column("time", Time, nullable=False),
    sa.Column("value", sa.Double),  # NULL is NaN: SQLite has none
    sqlite_with_rowid=False,
)

# Wide columns stand last: SQLite reads a row from its beginning.
submissions = sa.Table(
    "board_submissions",
    metadata,
    sa.Column("id", Key, primary_key=True),
    sa.Column("participant_id", sa.BigInteger, nullable=False),
    sa.Column("key", sa.Text, nullable=False),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("model_sha256", sa.Text, nullable=False),
    sa.Column("data_digest", sa.Text, nullable=False),
    sa.Column("claim_metric", sa.Text),
    sa.Column("claim_value", sa.Double),
    sa.Column("created", Time, nullable=False),
    sa.Column("state", sa.Text, nullable=False),  # queued, scoring, scored, refused
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lease_until", Time),  # of a queued one: not to be claimed before
    sa.Column("lease_owner", sa.Text),
    sa.Column("counts", sa.Boolean, nullable=False),  # towards the quota
    sa.Column("scored_at", Time, index=True),
    sa.Column("score", sa.Double),
    sa.Column("low", sa.Double),
    sa.Column("high", sa.Double),
    sa.Column("test", sa.Double),
    sa.Column("test_low", sa.Double),
    sa.Column("test_high", sa.Double),
    sa.Column("control", sa.Double),
    sa.Column("parameters", sa.BigInteger),
    sa.Column("inference_ms", sa.Double),
    sa.Column("training_seconds", sa.Double),
    sa.Column("commit_id", sa.Text),
    sa.Column("dirty", sa.Boolean),
    sa.Column("reproduced", sa.Text, nullable=False),  # untried, reproduced, differs
    sa.Column("personal_best", sa.Boolean, nullable=False),
    sa.Column("mirrored", sa.Boolean, nullable=False),
    sa.Column("mlflow_experiment", sa.Text),
    sa.Column("mlflow_run", sa.Text),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("disqualified", sa.Text),
    sa.Column("suspect", sa.Text),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("correct", sa.LargeBinary),  # numpy.packbits, one bit per hidden image
    sa.Column("record", sa.Text, nullable=False),  # JSON: the submission as it was sent
    sa.UniqueConstraint("participant_id", "key"),
    sa.Index("board_submissions_recent", "participant_id", "created"),
    sa.Index("board_submissions_bests", "participant_id", "state", "id", "score"),
    sa.Index("board_submissions_queue", "state", "id"),
    sa.Index("board_submissions_history", "personal_best", "created"),
    sa.Index("board_submissions_mirrored", "mirrored", "id"),
)

# Of participants who were removed: what MLflow still holds of them.
removed_runs = sa.Table(
    "board_removed_runs",
    metadata,
    sa.Column("kind", sa.Text, primary_key=True),  # live, submissions
    sa.Column("participant_id", sa.BigInteger, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),  # the run's, or the submission's
)

uploads = sa.Table(
    "board_uploads",
    metadata,
    sa.Column("id", Key, primary_key=True),
    sa.Column("participant_id", sa.BigInteger, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),  # bytes
    sa.Column("created", Time, nullable=False),
    sa.Index("board_uploads_recent", "participant_id", "created"),
)
