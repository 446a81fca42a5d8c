#ifndef GDFO_SERVER_STORE_STORE_JOB_H
#define GDFO_SERVER_STORE_STORE_JOB_H

#include "server/store/store.h"
#include "server/store/store_event.h"

/*
 * Jobs and their state machine (service.md 4.2). gdfo_store_job_set_state is the only mover: one
 * transaction of the row, rev + 1, a `status` event and an audit row; the database itself refuses
 * an illegal move.
 */
enum gdfo_job_status {
    GDFO_JOB_VALIDATING_FILES,
    GDFO_JOB_QUEUED,
    GDFO_JOB_RUNNING,
    GDFO_JOB_PAUSING,
    GDFO_JOB_PAUSED,
    GDFO_JOB_CANCELLING,
    GDFO_JOB_SUCCEEDED,
    GDFO_JOB_FAILED,
    GDFO_JOB_CANCELLED,
    GDFO_JOB_STATUS_END /* number of constants */
};

const char *gdfo_job_status_name(enum gdfo_job_status status); /* validating_files, ... */
int gdfo_job_status_is_live(enum gdfo_job_status status);      /* not succeeded failed cancelled */

struct gdfo_store_pair {
    char *key, *value;
};

/* Always equal to the sums over the job's ledger rows (store_call.h). */
struct gdfo_store_spend {
    int64_t evals, queries; /* of purpose train */
    int64_t dev_queries;    /* all other purposes */
    int64_t cached, calls, tokens_in, tokens_out, usd_micros, unknown_calls;
};

#define GDFO_STORE_RESULTS_MAX  8
#define GDFO_STORE_METADATA_MAX 16

struct gdfo_store_job {
    int64_t jid, pid, uid, tch;
    int64_t training_fid, validation_fid; /* validation_fid 0: none */
    char id[GDFO_STORE_ID_BYTES];
    char training_file[GDFO_STORE_ID_BYTES], validation_file[GDFO_STORE_ID_BYTES];
    char project_id[GDFO_STORE_ID_BYTES];
    char project[GDFO_STORE_NAME_BYTES], user[GDFO_STORE_NAME_BYTES]; /* names */
    char teacher[GDFO_STORE_NAME_BYTES];                              /* name */
    char method[16];
    enum gdfo_job_status status;
    char reason[32];
    int64_t rev, priority, seed;
    char name[GDFO_STORE_NAME_BYTES], suffix[72], student[GDFO_STORE_NAME_BYTES];
    char *spec; /* canonical JSON, owned */
    char code_version[40], machine_class[80];
    char precision[8]; /* f32, bf16, int8; "" until the job has begun, then never another */
    char fine_tuned_model[GDFO_STORE_NAME_BYTES]; /* "" until succeeded */
    int64_t generation;                           /* last step committed */
    int has_best;
    double best_metric;
    int64_t best_step, best_queries;
    struct gdfo_store_spend spend;
    int64_t recoveries;
    char err_code[40], err_message[GDFO_ERROR_TEXT_MAX], err_param[GDFO_ERROR_FIELD_MAX];
    int64_t created_at, updated_at, started_at, finished_at, archived_at;
    struct gdfo_store_pair *metadata; /* owned, by key */
    size_t n_metadata;
    char result_files[GDFO_STORE_RESULTS_MAX][GDFO_STORE_ID_BYTES];
    size_t n_results;
};

enum gdfo_store_unit {
    GDFO_STORE_EVALS,
    GDFO_STORE_QUERIES,
    GDFO_STORE_TOKENS_IN,
    GDFO_STORE_TOKENS_OUT,
    GDFO_STORE_USD_MICROS,
    GDFO_STORE_WALL_MS
};

/* One cap of the job's own budget, and what stands against it. */
struct gdfo_store_cap {
    enum gdfo_store_unit unit;
    int64_t cap;
    int64_t held, used; /* read only */
};
#define GDFO_STORE_CAPS_MAX 6

struct gdfo_store_job_new {
    int64_t tch, training_fid, validation_fid; /* validation_fid 0: none */
    const char *method, *spec, *code_version;
    const char *name, *suffix, *student, *machine_class; /* NULL: none */
    const unsigned char *student_sha256;                 /* 32 bytes or NULL */
    int64_t seed, priority;
    const struct gdfo_store_pair *metadata;
    size_t n_metadata;
    const struct gdfo_store_cap *caps; /* of the job itself, period total */
    size_t n_caps;
    const struct gdfo_store_event_new *events; /* the first ones */
    size_t n_events;
};

/* A move of the state machine. */
struct gdfo_store_move {
    enum gdfo_job_status to;
    const char *reason;             /* closed list of service.md 4.2, or NULL */
    const struct gdfo_error *fail;  /* to FAILED: code, text and field become the job's error */
    const char *model, *checkpoint; /* to SUCCEEDED: the model's name and its checkpoint's id */
    int64_t wall_ms;                /* of a run that stops: its time since it was last booked */
};

struct gdfo_store_job_filter {
    int64_t pid;
    int has_status;
    enum gdfo_job_status status;
};

/* The job at validating_files, durable. out may be NULL; else ended with deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_create(struct gdfo_store *s,
                                                     const struct gdfo_store_actor *who,
                                                     const struct gdfo_store_job_new *job,
                                                     struct gdfo_store_job *out,
                                                     struct gdfo_error *err);
void gdfo_store_job_deinit(struct gdfo_store_job *job); /* zeroed structs are fine */

GDFO_MUST_USE enum gdfo_status gdfo_store_job_get(struct gdfo_store *s, int64_t pid, const char *id,
                                                  struct gdfo_store_job *out,
                                                  struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_store_job_of_jid(struct gdfo_store *s, int64_t jid,
                                                     struct gdfo_store_job *out,
                                                     struct gdfo_error *err);
/* out holds page->limit rows, each ended with deinit. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_list(struct gdfo_store *s,
                                                   const struct gdfo_store_job_filter *filter,
                                                   const struct gdfo_store_page *page,
                                                   struct gdfo_store_job *out, size_t *n,
                                                   int *has_more, struct gdfo_error *err);

/* CONFLICT (code invalid_transition) names from and to. out may be NULL: the job as it is then. */
GDFO_MUST_USE enum gdfo_status gdfo_store_job_set_state(struct gdfo_store *s, int64_t jid,
                                                        const struct gdfo_store_move *move,
                                                        const struct gdfo_store_actor *who,
                                                        struct gdfo_store_job *out,
                                                        struct gdfo_error *err);

/* Known when a run starts. NULL keeps a column; a precision once set is kept in any case. */
struct gdfo_store_run {
    const char *student;
    const unsigned char *student_sha256; /* 32 bytes */
    const char *machine_class, *precision;
};
GDFO_MUST_USE enum gdfo_status gdfo_store_job_set_run(struct gdfo_store *s, int64_t jid,
                                                      const struct gdfo_store_run *run,
                                                      struct gdfo_error *err);

GDFO_MUST_USE enum gdfo_status gdfo_store_job_caps(struct gdfo_store *s, int64_t jid,
                                                   struct gdfo_store_cap caps[GDFO_STORE_CAPS_MAX],
                                                   size_t *n, struct gdfo_error *err);

#endif
