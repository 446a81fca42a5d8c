#ifndef GDFO_SERVER_STORE_STORE_H
#define GDFO_SERVER_STORE_STORE_H

#include "common/clk.h"
#include "common/error.h"
#include "common/file.h"
#include "common/hash.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Persistence: the only SQL of the project. A store is one data folder:
 *
 *   gdfod.lock   held by flock as long as the store is open; a second daemon is refused
 *   gdfod.db     SQLite, WAL, synchronous=FULL; -wal and -shm beside it
 *   blobs/ab/cdef...   content by its SHA-256: uploads, large answers, checkpoints
 *   tmp/ backups/      uploads on their way; a copy before each migration
 *
 * One read-write connection makes every write and every WAL checkpoint, under one lock; reads use a
 * few read-only connections. Every function may be called from any thread, returns after its commit
 * and never waits for anything but the disk and the other users of the writer lock. What is
 * written by one call is one transaction: all of it is there after a crash, or nothing.
 *
 * Rows are plain structs with fixed buffers; members that point to the heap are ended with the
 * struct's own _deinit. An optional text is "" and an optional integer 0 when the column is NULL,
 * unless a has_ member stands beside it. Times are unix seconds (_at) or milliseconds (_ms).
 *
 * Other headers of the module: store_blob.h store_file.h store_job.h store_sched.h store_call.h
 * store_step.h store_event.h store_metric.h store_teacher.h store_model.h store_key.h.
 *
 *   struct gdfo_store *s;
 *   status = gdfo_store_open(&s, &(struct gdfo_store_options){.dir = dir}, &err);
 *   status = gdfo_store_recover(s, &found, &err);         (store_sched.h; once, before any worker)
 *   status = gdfo_store_job_claim(s, &job, &found, &err);          (store_sched.h)
 *   gdfo_store_close(s);
 */
struct gdfo_store;

#define GDFO_STORE_ID_BYTES   40  /* "ftevent-" and 26 characters fit */
#define GDFO_STORE_NAME_BYTES 516 /* 128 characters of up to 4 bytes, and NUL */
#define GDFO_STORE_LIST_MAX   100 /* rows of one page */
#define GDFO_STORE_BLOB_MAX   ((uint64_t)512 << 20)

struct gdfo_store_options {
    const char *dir;            /* made with mode 0700 when missing */
    const struct gdfo_clk *clk; /* stamps; NULL: the system's clock. Outlives the store */
    size_t n_readers;           /* read-only connections; 0 = 4, at most 16 */
    int64_t ballast_bytes;      /* DATA/ballast, given up when the disk is full; 0 = none */
};

/* On whose behalf a row is written; NULL where a function takes one means the daemon itself. */
struct gdfo_store_actor {
    int64_t uid, pid;
    char request_id[GDFO_STORE_ID_BYTES]; /* for the audit trail */
};

/* User `local` in project `default`: who everyone is while tokens are off. */
#define GDFO_STORE_LOCAL_UID 1
#define GDFO_STORE_LOCAL_PID 1

/* Keyset paging: newest first unless is_ascending. */
struct gdfo_store_page {
    const char *after; /* id of the last row seen; NULL or "": from the start. Unknown: INVALID */
    size_t limit;      /* 1..GDFO_STORE_LIST_MAX: the size of the caller's array */
    int is_ascending;
};

/*
 * Opens the folder, takes its lock, migrates the database. *out: owned by caller, ended by
 * gdfo_store_close().
 *
 *   errors  CONFLICT     the folder is in use by another gdfod, named with its pid
 *           UNSUPPORTED  the database was written by a newer gdfod; its version is named
 *           CORRUPT, FORMAT, IO, FULL
 */
GDFO_MUST_USE enum gdfo_status gdfo_store_open(struct gdfo_store **out,
                                               const struct gdfo_store_options *options,
                                               struct gdfo_error *err);

/* Checkpoints the WAL to nothing, closes, gives the lock back. No other call may be running. NULL
 * is fine. */
void gdfo_store_close(struct gdfo_store *s);

const char *gdfo_store_dir(const struct gdfo_store *s); /* borrowed until gdfo_store_close() */

const char *gdfo_store_library(void); /* version of SQLite */

/* Makes an id: prefix ("ftjob-"), then a ULID. Any prefix of up to 12 bytes. */
void gdfo_store_id(const struct gdfo_store *s, const char *prefix, char out[GDFO_STORE_ID_BYTES]);

/* Housekeeping for the janitor, every few seconds: WAL checkpoint when due, content that no row
 * needs any more (older than a day), the ballast. */
GDFO_MUST_USE enum gdfo_status gdfo_store_maintain(struct gdfo_store *s, struct gdfo_error *err);

/* 1 from a write that met a full disk until one succeeds again. */
int gdfo_store_is_full(const struct gdfo_store *s);
/* 1 from a full disk until gdfo_store_maintain has found room, and the ballast is back: what there
 * is of it is for the last words of the jobs that run. */
int gdfo_store_is_short(const struct gdfo_store *s);
/* OK, or FULL while it is short: asked before anything new is let in. */
GDFO_MUST_USE enum gdfo_status gdfo_store_has_room(const struct gdfo_store *s,
                                                   struct gdfo_error *err);

/* Answers the simplest question; for readiness checks. */
GDFO_MUST_USE enum gdfo_status gdfo_store_ping(struct gdfo_store *s, struct gdfo_error *err);

/* Table meta: instance_id, created_by, ... NOT_FOUND when the key was never set. */
GDFO_MUST_USE enum gdfo_status gdfo_store_meta_get(struct gdfo_store *s, const char *key, char *out,
                                                   size_t out_bytes, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_meta_set(struct gdfo_store *s, const char *key,
                                                   const char *value, struct gdfo_error *err);

#endif
