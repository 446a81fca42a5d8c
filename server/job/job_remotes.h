#ifndef GDFO_SERVER_JOB_JOB_REMOTES_H
#define GDFO_SERVER_JOB_JOB_REMOTES_H

#include "server/job/job_models.h"
#include "server/store/store_teacher.h"
#include "server/teacher/remote.h"

/*
 * The teachers over HTTP of the configuration, and the one way out for all of them.
 *
 *   gdfo_remotes_create(&rs, err);
 *   gdfo_remotes_add(rs, &spec, err);            at start, before any other thread looks
 *   gdfo_remotes_register(rs, store, err);       their rows in the store
 *   entry = gdfo_remotes_find(rs, "name");       any thread from here on
 *   gdfo_remotes_ready(rs, entry, &ask, err);    probes its server when it must
 */
struct gdfo_remotes;

struct gdfo_remotes_spec { /* texts as the configuration has them */
    const char *name, *adapter, *model;
    const char *local;       /* a model of the models folder with the teacher's tokenizer */
    const char *base_url;    /* one or more, by commas or blanks */
    const char *allow_cidrs; /* likewise; "" = public addresses alone */
    const char *secret;      /* NULL: none; borrowed during add alone */
    const char *ca_file;     /* "" = the system's */
    int64_t max_inflight, timeout_ms;              /* 0 = the default */
    double requests_per_minute, tokens_per_minute; /* 0 = no limit */
    int is_idempotent;
    const struct gdfo_remote_option *options; /* ended by a pair without a name */
};

struct gdfo_remotes_entry {
    const char *name, *local;
    struct gdfo_remote *remote;
    const struct gdfo_remotes_spec *spec;
};

GDFO_MUST_USE enum gdfo_status gdfo_remotes_create(struct gdfo_remotes **out,
                                                   struct gdfo_error *err);
void gdfo_remotes_destroy(struct gdfo_remotes *rs); /* NULL is fine */

/* Other texts are borrowed until destroy. INVALID says what is wrong with which key. */
GDFO_MUST_USE enum gdfo_status gdfo_remotes_add(struct gdfo_remotes *rs,
                                                const struct gdfo_remotes_spec *spec,
                                                struct gdfo_error *err);
/* Rows of teachers that were never probed have no capabilities yet. */
GDFO_MUST_USE enum gdfo_status gdfo_remotes_register(struct gdfo_remotes *rs,
                                                     struct gdfo_store *store,
                                                     struct gdfo_error *err);
/* NULL: none of that name, or rs is NULL. */
const struct gdfo_remotes_entry *gdfo_remotes_find(const struct gdfo_remotes *rs, const char *name);

struct gdfo_remotes_ask {
    struct gdfo_store *store;
    const struct gdfo_model *local;
    const atomic_int *cancel; /* NULL: never */
    int is_new;               /* asks again although a probe was good once */
};

/* Probes the server, and keeps what it says with the teacher's row: another identity than the row's
 * is another epoch. */
GDFO_MUST_USE enum gdfo_status gdfo_remotes_ready(const struct gdfo_remotes_entry *e,
                                                  const struct gdfo_remotes_ask *ask,
                                                  struct gdfo_error *err);

/* The model of the models folder that stands for a teacher here: its own file, or the one with its
 * tokenizer. "" for a teacher over HTTP that the configuration no longer has. */
const char *gdfo_remotes_local(const struct gdfo_remotes *rs, const struct gdfo_store_teacher *row);

#endif
