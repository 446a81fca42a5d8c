-- A job's teacher computes in one precision for the job's whole life. Jobs that have begun were begun by a daemon that knew
-- float32 alone. NULL: not begun.
ALTER TABLE jobs ADD COLUMN precision TEXT CHECK(precision IN ('f32','bf16','int8'));
UPDATE jobs SET precision='f32' WHERE started_at IS NOT NULL;

-- How faithful a model file is to itself in float32, once for each engine build and set of kernels (tune/faithful.h). All
-- precisions of one measurement are written in one transaction: an interrupted one leaves nothing.
CREATE TABLE model_precisions(
  model_sha256 TEXT NOT NULL CHECK(length(model_sha256)=64),
  engine TEXT NOT NULL,                                  -- build, probe and kernels: another engine is another answer
  precision TEXT NOT NULL CHECK(precision IN ('f32','bf16','int8')),
  lp_max REAL, lp_mean REAL, agreement REAL, tau REAL,   -- NULL: not a number
  ms INTEGER NOT NULL CHECK(ms>=0),                      -- how long its answers took
  measured_at INTEGER NOT NULL,
  PRIMARY KEY(model_sha256,engine,precision)) STRICT, WITHOUT ROWID;
PRAGMA user_version=2;
