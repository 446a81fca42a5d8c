-- The schema of gdfod. Loads on SQLite 3.40.1 (Debian 12). Frozen: changes are further migrations.
-- The migration runner wraps the file in one BEGIN IMMEDIATE ... COMMIT; foreign_keys is set when a connection is opened.
-- Conventions: STRICT everywhere; text ids outside, integer rowids inside; unix seconds in *_at, milliseconds in *_ms;
-- money in integer micro-dollars; opaque bytes in BLOB, floats of the optimiser never through text; every enum has a CHECK.
-- No json_valid() in a CHECK: with trusted_schema=OFF SQLite 3.40.1 refuses it as unsafe. The daemon writes only JSON it made itself.
-- Words: query = one example answered under one prompt; eval = one prompt on one batch; call = one request to the teacher.
PRAGMA application_id = 1195656783;          -- "GDFO": lets file(1) and a restore refuse a foreign database
PRAGMA user_version = 1;

CREATE TABLE meta(k TEXT PRIMARY KEY, v TEXT NOT NULL) STRICT, WITHOUT ROWID;   -- instance_id, created_by, last_clean_stop_at

-- who --------------------------------------------------------------------------------------------------------------
CREATE TABLE users(
  uid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
  is_admin INTEGER NOT NULL DEFAULT 0 CHECK(is_admin IN (0,1)),
  created_at INTEGER NOT NULL, disabled_at INTEGER) STRICT;
CREATE TABLE projects(
  pid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
  weight INTEGER NOT NULL DEFAULT 100 CHECK(weight BETWEEN 1 AND 10000),
  max_running INTEGER NOT NULL DEFAULT 4 CHECK(max_running BETWEEN 0 AND 1000),
  retention_days INTEGER CHECK(retention_days>0), created_at INTEGER NOT NULL, archived_at INTEGER) STRICT;
CREATE TABLE members(
  pid INTEGER NOT NULL REFERENCES projects, uid INTEGER NOT NULL REFERENCES users,
  role TEXT NOT NULL CHECK(role IN ('viewer','runner','owner')), PRIMARY KEY(pid,uid)) STRICT, WITHOUT ROWID;
CREATE INDEX members_by_user ON members(uid);
CREATE TABLE tokens(
  tid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, uid INTEGER NOT NULL REFERENCES users,
  pid INTEGER REFERENCES projects,                       -- NULL: every project the user is in
  sha256 BLOB NOT NULL UNIQUE CHECK(length(sha256)=32),  -- of the 256-bit random token; the token itself is shown once
  prefix TEXT NOT NULL, scopes TEXT NOT NULL, label TEXT NOT NULL,
  created_at INTEGER NOT NULL, expires_at INTEGER, revoked_at INTEGER, last_used_at INTEGER) STRICT;
CREATE TABLE logins(                                     -- dashboard cookies; die with their token
  lid INTEGER PRIMARY KEY, tid INTEGER NOT NULL REFERENCES tokens, sha256 BLOB NOT NULL UNIQUE CHECK(length(sha256)=32),
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT;
-- Open loopback mode acts as this user in this project; both stay when tokens are switched on.
INSERT INTO users(uid,id,name,is_admin,created_at) VALUES(1,'user-local','local',1,unixepoch());
INSERT INTO projects(pid,id,name,created_at) VALUES(1,'proj-default','default',unixepoch());
INSERT INTO members(pid,uid,role) VALUES(1,1,'owner');

-- what is asked ----------------------------------------------------------------------------------------------------
CREATE TABLE teachers(
  tch INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL UNIQUE,
  adapter TEXT NOT NULL CHECK(adapter IN ('embedded','oip','vllm','sglang','openai-text')),
  model TEXT NOT NULL,                                   -- the name its server knows, or a registered model file
  base_urls TEXT NOT NULL DEFAULT '[]',                                    -- JSON array; empty for embedded
  allow_cidrs TEXT NOT NULL DEFAULT '[]',                                  -- JSON array: private ranges this entry may reach; admin only
  options TEXT NOT NULL DEFAULT '{}',                                      -- JSON: the adapter's own option table
  secret_ref TEXT CHECK(secret_ref GLOB 'cred:*' OR secret_ref GLOB 'env:*'),   -- never the key
  max_inflight INTEGER NOT NULL DEFAULT 8 CHECK(max_inflight BETWEEN 1 AND 1024), rpm INTEGER, tpm INTEGER,
  usd_micros_per_mtok_in INTEGER NOT NULL DEFAULT 0, usd_micros_per_mtok_cached INTEGER NOT NULL DEFAULT 0,
  usd_micros_per_mtok_out INTEGER NOT NULL DEFAULT 0, usd_micros_per_call INTEGER NOT NULL DEFAULT 0,
  idempotent INTEGER NOT NULL DEFAULT 0 CHECK(idempotent IN (0,1)),        -- honours Idempotency-Key
  everyone INTEGER NOT NULL DEFAULT 1 CHECK(everyone IN (0,1)),            -- 0: only projects in teacher_grants
  from_config INTEGER NOT NULL DEFAULT 0 CHECK(from_config IN (0,1)),      -- read from the configuration file: read-only by API
  capabilities TEXT, probed_at INTEGER,
  epoch INTEGER NOT NULL DEFAULT 0, fingerprint BLOB,    -- a drifted teacher gets a new epoch: old answers miss instead of lying
  created_at INTEGER NOT NULL, archived_at INTEGER) STRICT;
CREATE TABLE teacher_grants(
  tch INTEGER NOT NULL REFERENCES teachers, pid INTEGER NOT NULL REFERENCES projects, PRIMARY KEY(tch,pid)) STRICT, WITHOUT ROWID;
CREATE TABLE blobs(                                      -- content on disk under blobs/ab/cdef...; the row is written after the file is durable
  sha256 BLOB PRIMARY KEY CHECK(length(sha256)=32), bytes INTEGER NOT NULL CHECK(bytes>=0), created_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE files(
  fid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL REFERENCES projects,
  uid INTEGER NOT NULL REFERENCES users, sha256 BLOB NOT NULL REFERENCES blobs, filename TEXT NOT NULL,
  purpose TEXT NOT NULL CHECK(purpose IN ('fine-tune','fine-tune-results')),
  status TEXT NOT NULL CHECK(status IN ('uploaded','processed','error')),
  n_lines INTEGER, created_at INTEGER NOT NULL, expires_at INTEGER, deleted_at INTEGER) STRICT;
CREATE INDEX files_by_project ON files(pid, fid DESC);
CREATE INDEX files_by_blob ON files(sha256);
CREATE TABLE estimates(
  eid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL REFERENCES projects, uid INTEGER NOT NULL REFERENCES users,
  spec_sha256 BLOB NOT NULL, price_sha256 BLOB NOT NULL, result TEXT NOT NULL,
  created_at INTEGER NOT NULL, expires_at INTEGER NOT NULL) STRICT;

-- jobs -------------------------------------------------------------------------------------------------------------
CREATE TABLE jobs(
  jid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL REFERENCES projects,
  uid INTEGER NOT NULL REFERENCES users, tch INTEGER NOT NULL REFERENCES teachers,
  training_fid INTEGER NOT NULL REFERENCES files, validation_fid INTEGER REFERENCES files,
  method TEXT NOT NULL CHECK(method IN ('auto','gdfo','bbt','bbtv2','bbt-rgb','head','dfwe','random')),
  status TEXT NOT NULL CHECK(status IN
    ('validating_files','queued','running','pausing','paused','cancelling','succeeded','failed','cancelled')),
  reason TEXT,                                           -- closed list of service.md section 4.2
  rev INTEGER NOT NULL DEFAULT 1,                        -- raised by every visible change: the ETag and what ?wait= waits for
  priority INTEGER NOT NULL DEFAULT 0 CHECK(priority BETWEEN -10 AND 10),
  seed INTEGER NOT NULL CHECK(seed BETWEEN 0 AND 2147483647), name TEXT, suffix TEXT,
  spec TEXT NOT NULL, spec_sha256 BLOB NOT NULL,   -- the request as accepted, canonical JSON, defaults filled in
  student TEXT, student_sha256 BLOB, code_version TEXT NOT NULL, machine_class TEXT,
  parent_jid INTEGER REFERENCES jobs, estimate_eid INTEGER REFERENCES estimates,
  generation INTEGER NOT NULL DEFAULT 0, best_metric REAL, best_step INTEGER, best_queries INTEGER,
  spent_evals INTEGER NOT NULL DEFAULT 0, spent_queries INTEGER NOT NULL DEFAULT 0, spent_calls INTEGER NOT NULL DEFAULT 0,
  spent_cached INTEGER NOT NULL DEFAULT 0, spent_dev INTEGER NOT NULL DEFAULT 0,      -- queries: answered by the cache; asked for dev checks
  spent_tokens_in INTEGER NOT NULL DEFAULT 0, spent_tokens_out INTEGER NOT NULL DEFAULT 0,
  spent_usd_micros INTEGER NOT NULL DEFAULT 0, spent_unknown INTEGER NOT NULL DEFAULT 0, recoveries INTEGER NOT NULL DEFAULT 0,
  err_code TEXT, err_message TEXT, err_param TEXT,
  created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, started_at INTEGER, finished_at INTEGER, archived_at INTEGER,
  CHECK((finished_at IS NOT NULL)=(status IN ('succeeded','failed','cancelled')))) STRICT;
CREATE INDEX jobs_by_project ON jobs(pid, jid DESC);
CREATE INDEX jobs_live ON jobs(status, pid) WHERE status IN ('validating_files','queued','running','pausing','paused','cancelling');
-- The machine of section 4.2, refused by the database itself: a bug in the daemon may stop a job but cannot forge its history.
CREATE TRIGGER jobs_transition BEFORE UPDATE OF status ON jobs WHEN NEW.status<>OLD.status AND (OLD.status||'>'||NEW.status) NOT IN (
  'validating_files>queued','validating_files>failed','validating_files>cancelled',
  'queued>running','queued>paused','queued>failed','queued>cancelled',
  'running>pausing','running>paused','running>queued','running>cancelling','running>succeeded','running>failed',
  'pausing>paused','pausing>cancelling','pausing>succeeded','pausing>failed',
  'paused>queued','paused>cancelled','cancelling>cancelled')
  BEGIN SELECT RAISE(ABORT,'illegal job transition'); END;
CREATE TRIGGER jobs_rev BEFORE UPDATE OF status ON jobs WHEN NEW.status<>OLD.status AND NEW.rev<=OLD.rev
  BEGIN SELECT RAISE(ABORT,'status changed without a new rev'); END;
CREATE TABLE job_metadata(jid INTEGER NOT NULL REFERENCES jobs, k TEXT NOT NULL, v TEXT NOT NULL,
  PRIMARY KEY(jid,k)) STRICT, WITHOUT ROWID;
CREATE INDEX job_metadata_kv ON job_metadata(k, v, jid DESC);
CREATE TABLE job_results(jid INTEGER NOT NULL REFERENCES jobs, fid INTEGER NOT NULL REFERENCES files,
  PRIMARY KEY(jid,fid)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots(                                  -- resume points: exact bytes, checksummed, the last two kept
  jid INTEGER NOT NULL REFERENCES jobs, generation INTEGER NOT NULL, next_seq INTEGER NOT NULL,
  format INTEGER NOT NULL, state BLOB NOT NULL, crc32c INTEGER NOT NULL, at INTEGER NOT NULL, PRIMARY KEY(jid,generation)) STRICT;
CREATE TABLE checkpoints(
  cid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, jid INTEGER NOT NULL REFERENCES jobs, step INTEGER NOT NULL, queries INTEGER NOT NULL,
  sha256 BLOB NOT NULL REFERENCES blobs, metrics TEXT NOT NULL,
  rank REAL NOT NULL,                                    -- higher is better: the best five and the last are kept
  created_at INTEGER NOT NULL, UNIQUE(jid,step)) STRICT;
CREATE INDEX checkpoints_by_blob ON checkpoints(sha256);
CREATE TABLE models(                                     -- tuned prompts that may be served
  mdl INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, jid INTEGER NOT NULL UNIQUE REFERENCES jobs,
  cid INTEGER NOT NULL REFERENCES checkpoints, created_at INTEGER NOT NULL, deleted_at INTEGER) STRICT;

-- the ledger: one row for each call a job needs, written before a byte leaves -----------------------------------------
CREATE TABLE calls(
  jid INTEGER NOT NULL REFERENCES jobs, seq INTEGER NOT NULL,        -- first eval the call carries, in the job's deterministic order
  part INTEGER NOT NULL DEFAULT 0, attempt INTEGER NOT NULL DEFAULT 1 CHECK(attempt BETWEEN 1 AND 16),
  purpose TEXT NOT NULL CHECK(purpose IN ('train','dev','test','canary')),
  epoch INTEGER NOT NULL, request_sha256 BLOB NOT NULL CHECK(length(request_sha256)=32),
  state TEXT NOT NULL CHECK(state IN ('intent','done','cached','rejected','unknown')),
  n_prompts INTEGER NOT NULL, n_examples INTEGER NOT NULL, n_queries INTEGER NOT NULL,
  held_evals INTEGER NOT NULL, held_queries INTEGER NOT NULL,        -- what the intent holds in budgets of these units
  reserved_in INTEGER NOT NULL, reserved_out INTEGER NOT NULL, reserved_usd_micros INTEGER NOT NULL,
  used_in INTEGER, used_cached INTEGER, used_out INTEGER, used_usd_micros INTEGER,
  verdict TEXT, http_status INTEGER, intent_ms INTEGER NOT NULL, sent_ms INTEGER, done_ms INTEGER,
  upstream_request_id TEXT, detail TEXT,   -- adapter, route, layout, bytes, flag counts, mass: never text, rows or keys
  result BLOB, result_sha256 BLOB REFERENCES blobs,                  -- answers above 64 KiB live in a blob
  PRIMARY KEY(jid,seq,part,attempt),
  CHECK((state='intent')=(done_ms IS NULL)), CHECK(result IS NULL OR result_sha256 IS NULL)) STRICT, WITHOUT ROWID;
CREATE INDEX calls_open ON calls(state) WHERE state='intent';
CREATE INDEX calls_by_blob ON calls(result_sha256) WHERE result_sha256 IS NOT NULL;
CREATE TRIGGER calls_keep BEFORE DELETE ON calls BEGIN SELECT RAISE(ABORT,'ledger rows are kept'); END;
CREATE TRIGGER calls_settled BEFORE UPDATE OF state ON calls WHEN OLD.state IN ('done','cached','rejected') AND NEW.state<>OLD.state
  BEGIN SELECT RAISE(ABORT,'a settled call stays settled'); END;
CREATE TABLE service_calls(                              -- paid calls outside a job: teacher probes and predictions; counted, never replayed
  sid INTEGER PRIMARY KEY, kind TEXT NOT NULL CHECK(kind IN ('probe','predict')), pid INTEGER NOT NULL REFERENCES projects,
  uid INTEGER NOT NULL REFERENCES users, tch INTEGER NOT NULL REFERENCES teachers, jid INTEGER REFERENCES jobs,
  state TEXT NOT NULL CHECK(state IN ('intent','done','rejected','unknown')), n_queries INTEGER NOT NULL,
  reserved_in INTEGER NOT NULL, reserved_out INTEGER NOT NULL, reserved_usd_micros INTEGER NOT NULL,
  used_in INTEGER, used_out INTEGER, used_usd_micros INTEGER, intent_ms INTEGER NOT NULL, done_ms INTEGER) STRICT;
CREATE INDEX service_calls_open ON service_calls(state) WHERE state='intent';
CREATE TABLE query_cache(                                -- never pay twice for the same question
  pid INTEGER NOT NULL REFERENCES projects, tch INTEGER NOT NULL REFERENCES teachers, epoch INTEGER NOT NULL,
  query_sha256 BLOB NOT NULL CHECK(length(query_sha256)=32), result BLOB NOT NULL, created_at INTEGER NOT NULL, hits INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(pid,tch,epoch,query_sha256)) STRICT, WITHOUT ROWID;
CREATE TABLE budgets(
  bid INTEGER PRIMARY KEY, scope TEXT NOT NULL CHECK(scope IN ('job','user','project','teacher','daemon')), scope_id INTEGER NOT NULL,
  unit TEXT NOT NULL CHECK(unit IN ('evals','queries','tokens_in','tokens_out','usd_micros','wall_ms')),
  period TEXT NOT NULL CHECK(period IN ('total','day','month')), cap INTEGER NOT NULL CHECK(cap>=0),
  held INTEGER NOT NULL DEFAULT 0 CHECK(held>=0), used INTEGER NOT NULL DEFAULT 0 CHECK(used>=0),
  over INTEGER NOT NULL DEFAULT 0 CHECK(over>=0),        -- what settled calls took past their worst case; stays 0 for evals and queries
  resets_at INTEGER,
  CHECK(held+used<=cap),                                 -- a reservation past the cap cannot be committed
  UNIQUE(scope,scope_id,unit,period)) STRICT;

-- what is seen -----------------------------------------------------------------------------------------------------
CREATE TABLE metric_names(mid INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE metrics(jid INTEGER NOT NULL REFERENCES jobs, mid INTEGER NOT NULL REFERENCES metric_names, step INTEGER NOT NULL,
  evals INTEGER NOT NULL, queries INTEGER NOT NULL, at_ms INTEGER NOT NULL, v REAL,
  kind INTEGER NOT NULL DEFAULT 0 CHECK(kind BETWEEN 0 AND 3),                         -- 0 finite, 1 +inf, 2 -inf, 3 nan (v is NULL unless 0)
  PRIMARY KEY(jid,mid,step), CHECK((kind=0)=(v IS NOT NULL))) STRICT, WITHOUT ROWID;
CREATE TABLE events(seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, jid INTEGER NOT NULL REFERENCES jobs,
  at INTEGER NOT NULL, level TEXT NOT NULL CHECK(level IN ('info','warn','error')),
  type TEXT NOT NULL CHECK(type IN ('message','status','metrics','checkpoint','budget','teacher','recovery')),
  message TEXT NOT NULL, data TEXT) STRICT;
CREATE INDEX events_by_job ON events(jid, seq);
CREATE TABLE audit(seq INTEGER PRIMARY KEY AUTOINCREMENT, at_ms INTEGER NOT NULL, uid INTEGER, tid INTEGER, pid INTEGER, ip TEXT,
  request_id TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, detail TEXT,
  prev_sha256 BLOB NOT NULL CHECK(length(prev_sha256)=32), sha256 BLOB NOT NULL CHECK(length(sha256)=32)) STRICT;   -- hash chain
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT,'audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT,'audit is append-only'); END;
CREATE TABLE idempotency(                                -- by user, not by token: rotating a token between two tries must not make two jobs
  uid INTEGER NOT NULL REFERENCES users, key TEXT NOT NULL CHECK(length(key) BETWEEN 1 AND 255), route TEXT NOT NULL,
  body_sha256 BLOB NOT NULL, status INTEGER, response TEXT, created_at INTEGER NOT NULL, PRIMARY KEY(uid,key)) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency(created_at);
CREATE TABLE webhooks(wid INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, pid INTEGER NOT NULL REFERENCES projects, url TEXT NOT NULL,
  secret_ref TEXT NOT NULL, types TEXT NOT NULL, disabled_at INTEGER, created_at INTEGER NOT NULL) STRICT;
CREATE TABLE deliveries(did INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, wid INTEGER NOT NULL REFERENCES webhooks,
  event_seq INTEGER NOT NULL REFERENCES events(seq), attempt INTEGER NOT NULL DEFAULT 0, next_ms INTEGER,
  http_status INTEGER, delivered_at INTEGER, gave_up_at INTEGER, UNIQUE(wid,event_seq)) STRICT;
CREATE INDEX deliveries_due ON deliveries(next_ms) WHERE delivered_at IS NULL AND gave_up_at IS NULL;
