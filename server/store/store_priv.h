#ifndef GDFO_SERVER_STORE_STORE_PRIV_H
#define GDFO_SERVER_STORE_STORE_PRIV_H

#include "common/lock.h"
#include "server/store/db_priv.h"
#include "server/store/row_priv.h"
#include "server/store/store.h"

#include <stdatomic.h>

#define GDFO_STORE_PATH_BYTES  4096
#define GDFO_STORE_READERS_MAX 16

/*
 * Inside of the store. A write is
 *
 *   status = gdfo_tx_begin(s, err);                  takes the writer
 *   if (status == GDFO_STATUS_OK) {
 *       status = ...statements on &s->writer...
 *       status = gdfo_tx_end(s, status, err);        commits or rolls back, gives the writer back
 *   }
 *
 * and a read is gdfo_read_begin / gdfo_read_end around statements on the reader it lends.
 */
struct gdfo_store {
    char dir[GDFO_STORE_PATH_BYTES];
    const struct gdfo_clk *clk;
    int lock_fd;             /* gdfod.lock, held */
    struct gdfo_lock *lock;  /* of the writer */
    struct gdfo_db writer;   /* with lock held */
    struct gdfo_lock *idle;  /* of the list of free readers */
    struct gdfo_cond *freed; /* a reader came back */
    struct gdfo_db *readers; /* with idle held: the free ones */
    struct gdfo_db pool[GDFO_STORE_READERS_MAX];
    size_t n_readers;
    atomic_int is_full, is_short; /* is_short: the ballast was given up and is not back */
    int64_t ballast_bytes;
    int next_sweep; /* with lock held: first byte of the blob folder to sweep next */
};

/* tx.c */
GDFO_MUST_USE enum gdfo_status gdfo_tx_begin(struct gdfo_store *s, struct gdfo_error *err);
enum gdfo_status gdfo_tx_end(struct gdfo_store *s, enum gdfo_status status, struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_read_begin(struct gdfo_store *s, struct gdfo_db **db,
                                               struct gdfo_error *err);
void gdfo_read_end(struct gdfo_store *s, struct gdfo_db *db);
int64_t gdfo_store_now_ms(const struct gdfo_store *s);
int64_t gdfo_store_now(const struct gdfo_store *s); /* seconds */

/* The rowid to page on from: what sql finds for (pid, after), or the end of the key range when
 * there is no `after`. pid 0: sql takes the id alone. INVALID, field "after", when unknown. */
GDFO_MUST_USE enum gdfo_status gdfo_page_key(struct gdfo_db *db, const struct gdfo_store_page *page,
                                             enum gdfo_sql sql, int64_t scope, int64_t *key,
                                             struct gdfo_error *err);

/* audit.c: one row of the hash chain; within a transaction */
struct gdfo_audit {
    const char *action, *object, *detail; /* detail: JSON or NULL */
};
GDFO_MUST_USE enum gdfo_status gdfo_audit_add(struct gdfo_store *s,
                                              const struct gdfo_store_actor *who,
                                              const struct gdfo_audit *row, struct gdfo_error *err);

/* blob.c */
struct gdfo_store_blob;
GDFO_MUST_USE enum gdfo_status gdfo_blob_row(struct gdfo_store *s,
                                             const struct gdfo_store_blob *blob,
                                             struct gdfo_error *err); /* within a transaction */

/* store_event.c: within a transaction */
struct gdfo_store_event_new;
GDFO_MUST_USE enum gdfo_status gdfo_event_row(struct gdfo_store *s, int64_t jid,
                                              const struct gdfo_store_event_new *event,
                                              int64_t *seq, struct gdfo_error *err);

#endif
