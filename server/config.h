#ifndef GDFO_SERVER_CONFIG_H
#define GDFO_SERVER_CONFIG_H

#include "common/buf.h"
#include "common/opt.h"

#include <stddef.h>
#include <stdint.h>

/*
 * Settings of the daemon: flag > environment > file > built-in (service.md 9). The rows are in
 * config.def. Reading never stops at a fault: all of them are listed, each with where it stands.
 * Main thread only, before any other thread starts; what is read is not changed afterwards.
 *
 *   struct gdfo_config *c = gdfo_config_create();
 *   gdfo_config_load(c, argc, argv, &command, &faults);
 *   if (faults.n > 0) { fputs(faults.text.data, stderr); return 2; }
 */
enum gdfo_config_source {
    GDFO_CONFIG_BUILT_IN,
    GDFO_CONFIG_FILE,
    GDFO_CONFIG_ENVIRONMENT,
    GDFO_CONFIG_FLAG
};

#define GDFO_CONFIG_TEACHER_OPTIONS_MAX 16

struct gdfo_config_teacher { /* [teacher NAME] */
    char name[GDFO_OPT_STR_BYTES];
    char adapter[GDFO_OPT_STR_BYTES]; /* embedded, or one over HTTP */
    char model[GDFO_OPT_PATH_BYTES];  /* stem of a file in models.dir; or as its server names it */
    /* Over HTTP alone: */
    char local[GDFO_OPT_STR_BYTES]; /* a model in models.dir with the teacher's tokenizer */
    char base_url[GDFO_OPT_PATH_BYTES], allow_cidrs[GDFO_OPT_PATH_BYTES];
    char secret_ref[GDFO_OPT_STR_BYTES], ca_file[GDFO_OPT_PATH_BYTES];
    int64_t max_inflight, timeout_ms;
    double requests_per_minute, tokens_per_minute;
    int idempotent;
    struct { /* options.KEY = VALUE: of the adapter's own table */
        char name[GDFO_OPT_STR_BYTES], value[256];
    } options[GDFO_CONFIG_TEACHER_OPTIONS_MAX];
    size_t n_options;
};

struct gdfo_config_student { /* [student NAME] */
    char name[GDFO_OPT_STR_BYTES];
    char file[GDFO_OPT_PATH_BYTES]; /* inside models.dir, without a slash */
};

#define GDFO_CONFIG_SECTIONS_MAX 32
#define GDFO_CONFIG_KEYS_MAX     32

struct gdfo_config {
    char data_dir[GDFO_OPT_PATH_BYTES], models_dir[GDFO_OPT_PATH_BYTES];
    char http_bind[GDFO_OPT_STR_BYTES], http_hosts[GDFO_OPT_PATH_BYTES];
    char serve_models[GDFO_OPT_PATH_BYTES]; /* "off", or names by commas */
    int64_t serve_queue;
    int64_t http_port, http_threads, sched_workers, compute_threads, stop_seconds, ballast_mib;
    int precision;                   /* enum gdfo_precision, or GDFO_PRECISION_AUTO */
    char memory[GDFO_OPT_STR_BYTES]; /* as written */
    uint64_t memory_bytes;           /* what it means; 0 = no ceiling */
    int log_level, log_format;       /* enum gdfo_log_level; 0 kv, 1 json */
    struct gdfo_config_teacher teachers[GDFO_CONFIG_SECTIONS_MAX];
    struct gdfo_config_student students[GDFO_CONFIG_SECTIONS_MAX];
    size_t n_teachers, n_students;
    enum gdfo_config_source sources[GDFO_CONFIG_KEYS_MAX]; /* by row of the table */
};

/* What the command line asks for besides settings. */
enum gdfo_config_verb {
    GDFO_CONFIG_RUN,
    GDFO_CONFIG_CHECK,
    GDFO_CONFIG_PRINT,
    GDFO_CONFIG_HELP,
    GDFO_CONFIG_HELP_CONFIG,
    GDFO_CONFIG_VERSION
};

struct gdfo_config_command {
    enum gdfo_config_verb verb;
    const char *file; /* borrowed from argv; NULL: none */
};

struct gdfo_config_faults {
    struct gdfo_buf text; /* one line each: "WHERE: words" */
    size_t n;
};

/* Looks up an environment variable; NULL when it is not set. */
typedef const char *(*gdfo_config_lookup)(void *ctx, const char *name);

/* With the built-in values; owned by caller, ended by gdfo_mem_free(). NULL when out of memory. */
struct gdfo_config *gdfo_config_create(void);
const struct gdfo_opt *gdfo_config_rows(void); /* the table, ended by a row without a name */

void gdfo_config_faults_init(struct gdfo_config_faults *f);
GDFO_PRINTF(3, 4)
void gdfo_config_fault(struct gdfo_config_faults *f, const char *where, const char *fmt, ...);

/* The parts of load; each can be called alone and in any order, the rank of the sources decides. */
void gdfo_config_read_text(struct gdfo_config *c, const char *text, size_t n, const char *name,
                           struct gdfo_config_faults *faults);
void gdfo_config_read_env(struct gdfo_config *c, gdfo_config_lookup lookup, void *ctx,
                          struct gdfo_config_faults *faults);
void gdfo_config_read_args(struct gdfo_config *c, int argc, char *const *argv,
                           struct gdfo_config_command *command, struct gdfo_config_faults *faults);
/* Fills in what depends on other values, and checks what only can be checked at the end. */
void gdfo_config_settle(struct gdfo_config *c, gdfo_config_lookup lookup, void *ctx,
                        struct gdfo_config_faults *faults);

/* All of it, from the real file and environment. Faults are listed in `faults`. */
void gdfo_config_load(struct gdfo_config *c, int argc, char *const *argv,
                      struct gdfo_config_command *command, struct gdfo_config_faults *faults);

/*
 * The secret that a reference names, "" for "": env:NAME is a variable, cred:NAME a file's first
 * line in $CREDENTIALS_DIRECTORY (systemd's LoadCredential). The caller wipes out.
 */
GDFO_MUST_USE enum gdfo_status gdfo_config_secret(const char *ref, char *out, size_t cap,
                                                  struct gdfo_error *err);

#endif
