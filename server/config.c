#include "server/config.h"

#include "common/check.h"
#include "common/file.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/parse.h"
#include "server/config_priv.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES   ((size_t)1 << 20)
#define FAULTS_MAX_BYTES ((size_t)64 << 10)
#define ENV_NAME_BYTES   64

#define CFG(key, type, member, fallback, min, max, choices, help)                                  \
    {key, GDFO_OPT_##type, offsetof(struct gdfo_config, member), fallback, min, max, choices, help},
static const struct gdfo_opt rows[] = {
#include "server/config.def"
    {0}};
#undef CFG

_Static_assert(sizeof rows / sizeof rows[0] <= GDFO_CONFIG_KEYS_MAX,
               "sources[] has a place for each");

const struct gdfo_opt *gdfo_config_rows(void)
{
    return rows;
}

struct gdfo_config *gdfo_config_create(void)
{
    struct gdfo_config *c = gdfo_mem_array(1, sizeof *c);
    if (c) {
        gdfo_opt_defaults(rows, c);
    }
    return c;
}

void gdfo_config_faults_init(struct gdfo_config_faults *f)
{
    f->n = 0;
    gdfo_buf_init(&f->text, FAULTS_MAX_BYTES);
}

void gdfo_config_fault(struct gdfo_config_faults *f, const char *where, const char *fmt, ...)
{
    char words[GDFO_ERROR_TEXT_MAX];
    va_list args;
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(words, sizeof words, fmt, args));
    va_end(args);
    gdfo_buf_addf(&f->text, "%s: %s\n", where, words);
    f->n++;
}

static size_t row_of(const char *key)
{
    size_t i = 0;
    while (rows[i].name && strcmp(rows[i].name, key) != 0) {
        i++;
    }
    return i;
}

void gdfo_config_set(struct gdfo_config *c, enum gdfo_config_source source, const char *key,
                     const char *value, const char *where, struct gdfo_config_faults *faults)
{
    struct gdfo_error err = {0};
    size_t i = row_of(key);
    struct gdfo_config probe; /* a value of lower rank must be right too */
    void *to = rows[i].name && source < c->sources[i] ? (void *)&probe : (void *)c;
    if (gdfo_opt_set_text(rows, to, key, value, &err) != GDFO_STATUS_OK) {
        gdfo_config_fault(faults, where, "%s", err.text);
    } else if (to == (void *)c) {
        c->sources[i] = source;
    }
}

/* http.port -> GDFO_HTTP_PORT */
static void env_name(const char *key, char out[ENV_NAME_BYTES])
{
    size_t n = (size_t)snprintf(out, ENV_NAME_BYTES, "GDFO_%s", key);
    GDFO_CHECK(n < ENV_NAME_BYTES);
    for (; *out; out++) {
        *out = *out == '.' ? '_' : (char)toupper((unsigned char)*out);
    }
}

void gdfo_config_read_env(struct gdfo_config *c, gdfo_config_lookup lookup, void *ctx,
                          struct gdfo_config_faults *faults)
{
    for (const struct gdfo_opt *o = rows; o->name; o++) {
        char name[ENV_NAME_BYTES];
        const char *value;
        env_name(o->name, name);
        value = lookup(ctx, name);
        if (value && *value) {
            gdfo_config_set(c, GDFO_CONFIG_ENVIRONMENT, o->name, value, name, faults);
        }
    }
}

/* ---- the command line ---------------------------------------------------------------------- */

static const struct {
    const char *flag;
    enum gdfo_config_verb verb;
    int takes_file; /* 2: must have one */
} verbs[] = {
    {"--config", GDFO_CONFIG_RUN, 2},         {"--check-config", GDFO_CONFIG_CHECK, 1},
    {"--print-config", GDFO_CONFIG_PRINT, 0}, {"--help-config", GDFO_CONFIG_HELP_CONFIG, 0},
    {"--help", GDFO_CONFIG_HELP, 0},          {"-h", GDFO_CONFIG_HELP, 0},
    {"--version", GDFO_CONFIG_VERSION, 0},
};
#define N_VERBS (sizeof verbs / sizeof verbs[0])

static size_t verb_of(const char *arg)
{
    size_t n = strcspn(arg, "=");
    size_t i = 0;
    while (i < N_VERBS && (strlen(verbs[i].flag) != n || strncmp(arg, verbs[i].flag, n) != 0)) {
        i++;
    }
    return i;
}

/* Takes a verb and its file; returns how many further arguments that used up. */
static int take_verb(size_t v, int n_left, char *const *args, struct gdfo_config_command *command,
                     struct gdfo_config_faults *faults)
{
    const char *equals = strchr(args[0], '=');
    const char *file = equals ? equals + 1 : NULL;
    int used = 0;
    if (!file && verbs[v].takes_file && n_left > 1 && strncmp(args[1], "--", 2) != 0) {
        file = args[1];
        used = 1;
    }
    if ((file && !verbs[v].takes_file) || (file && !*file) || (!file && verbs[v].takes_file == 2)) {
        gdfo_config_fault(faults, "command line", "%s %s", args[0],
                          verbs[v].takes_file ? "needs the name of a file" : "takes no value");
    }
    if (file) {
        command->file = file;
    }
    if (verbs[v].verb != GDFO_CONFIG_RUN) {
        command->verb = verbs[v].verb;
    }
    return used;
}

/* Settings that people write without their section. */
static const struct {
    const char *flag, *key;
} short_names[] = {{"--precision", "engine.precision"}, {"--memory", "engine.memory"}};

/* "--precision int8" and "--precision=int8"; returns how many further arguments that used up, -1
 * when it is none of them. */
static int take_short(struct gdfo_config *c, int n_left, char *const *args,
                      struct gdfo_config_faults *faults)
{
    size_t n = strcspn(args[0], "=");
    for (size_t i = 0; i < sizeof short_names / sizeof short_names[0]; i++) {
        const char *value = args[0][n] == '=' ? args[0] + n + 1 : NULL;
        int used = 0;
        if (strlen(short_names[i].flag) != n || strncmp(args[0], short_names[i].flag, n) != 0) {
            continue;
        }
        if (!value && n_left > 1 && strncmp(args[1], "--", 2) != 0) {
            value = args[1];
            used = 1;
        }
        if (value) {
            gdfo_config_set(c, GDFO_CONFIG_FLAG, short_names[i].key, value, "command line", faults);
        } else {
            gdfo_config_fault(faults, "command line", "%s needs a value: %s=...",
                              short_names[i].flag, short_names[i].flag);
        }
        return used;
    }
    return -1;
}

static void take_setting(struct gdfo_config *c, const char *arg, struct gdfo_config_faults *faults)
{
    char key[128];
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    if (strncmp(arg, "--", 2) != 0 || n - 2 >= sizeof key) {
        gdfo_config_fault(faults, "command line", "'%.64s'; want --key=value, see --help", arg);
        return;
    }
    memcpy(key, arg + 2, n - 2);
    key[n - 2] = '\0';
    if (!equals && rows[row_of(key)].name) {
        gdfo_config_fault(faults, "command line", "--%s needs a value: --%s=...", key, key);
        return;
    }
    gdfo_config_set(c, GDFO_CONFIG_FLAG, key, equals ? equals + 1 : "", "command line", faults);
}

void gdfo_config_read_args(struct gdfo_config *c, int argc, char *const *argv,
                           struct gdfo_config_command *command, struct gdfo_config_faults *faults)
{
    for (int i = 1; i < argc; i++) {
        size_t v = verb_of(argv[i]);
        int used = v < N_VERBS ? take_verb(v, argc - i, argv + i, command, faults)
                               : take_short(c, argc - i, argv + i, faults);
        if (used < 0) {
            take_setting(c, argv[i], faults);
        }
        i += used > 0 ? used : 0;
    }
}

/* ---- putting it together ------------------------------------------------------------------- */

static void default_data_dir(struct gdfo_config *c, gdfo_config_lookup lookup, void *ctx,
                             struct gdfo_config_faults *faults)
{
    const char *state = lookup(ctx, "STATE_DIRECTORY"); /* systemd's; several are split by ':' */
    const char *home = lookup(ctx, "HOME");
    int n = 0;
    if (c->data_dir[0]) {
        return;
    }
    if (state && *state) {
        n = snprintf(c->data_dir, sizeof c->data_dir, "%.*s", (int)strcspn(state, ":"), state);
    } else if (home && *home) {
        n = snprintf(c->data_dir, sizeof c->data_dir, "%s/.local/state/gdfod", home);
    }
    if (n <= 0 || n >= (int)sizeof c->data_dir) {
        gdfo_config_fault(faults, "data.dir", "neither STATE_DIRECTORY nor HOME gives one; set it");
    }
}

static void default_models_dir(struct gdfo_config *c, struct gdfo_config_faults *faults)
{
    int n;
    if (c->models_dir[0]) {
        return;
    }
    n = snprintf(c->models_dir, sizeof c->models_dir, "%s/models", c->data_dir);
    if (n >= (int)sizeof c->models_dir) {
        gdfo_config_fault(faults, "models.dir", "data.dir is too long to stand in front of it");
    }
}

/* Whether the adapter exists and knows its options shows when the teachers are made. */
static void check_remote(const struct gdfo_config_teacher *t, const char *where,
                         struct gdfo_config_faults *faults)
{
    if (!t->base_url[0]) {
        gdfo_config_fault(faults, where, "base_url is missing: https://host[:port]");
    }
    if (!t->local[0]) {
        gdfo_config_fault(faults, where,
                          "local is missing: a model in models.dir with the teacher's tokenizer");
    }
}

static void check_sections(const struct gdfo_config *c, struct gdfo_config_faults *faults)
{
    char where[GDFO_OPT_STR_BYTES + 16];
    for (size_t i = 0; i < c->n_teachers; i++) {
        const struct gdfo_config_teacher *t = &c->teachers[i];
        GDFO_IGNORE(snprintf(where, sizeof where, "[teacher %s]", t->name));
        if (!t->model[0]) {
            gdfo_config_fault(faults, where,
                              "model is missing: the stem of a file in models.dir, or over HTTP "
                              "the name that the server knows");
        }
        if (strcmp(t->adapter, "embedded") != 0) {
            check_remote(t, where, faults);
        } else if (t->base_url[0] || t->local[0] || t->n_options > 0) {
            gdfo_config_fault(faults, where,
                              "base_url, local and options are for adapters over HTTP; this one "
                              "is embedded");
        }
    }
    for (size_t i = 0; i < c->n_students; i++) {
        const struct gdfo_config_student *s = &c->students[i];
        GDFO_IGNORE(snprintf(where, sizeof where, "[student %s]", s->name));
        if (!s->file[0] || strchr(s->file, '/') || s->file[0] == '.') {
            gdfo_config_fault(faults, where, "file is '%.64s'; want a file's name in models.dir",
                              s->file);
        }
    }
}

/* 4G, 900M, 512K, 1073741824. */
static void read_memory(struct gdfo_config *c, struct gdfo_config_faults *faults)
{
    static const char units[] = "KMGT";
    char digits[GDFO_OPT_STR_BYTES];
    size_t n = strlen(c->memory);
    const char *unit = n > 0 ? strchr(units, toupper((unsigned char)c->memory[n - 1])) : NULL;
    unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
    int64_t count = 0;
    GDFO_IGNORE(snprintf(digits, sizeof digits, "%.*s", (int)(unit ? n - 1 : n), c->memory));
    if (!gdfo_parse_i64(digits, 0, INT64_MAX >> shift, &count)) {
        gdfo_config_fault(faults, "engine.memory",
                          "'%s'; want bytes, or a number with K, M, G or T behind it: 4G",
                          c->memory);
        return;
    }
    c->memory_bytes = (uint64_t)count << shift;
}

void gdfo_config_settle(struct gdfo_config *c, gdfo_config_lookup lookup, void *ctx,
                        struct gdfo_config_faults *faults)
{
    default_data_dir(c, lookup, ctx, faults);
    default_models_dir(c, faults);
    check_sections(c, faults);
    read_memory(c, faults);
}

static const char *real_environment(void *ctx, const char *name)
{
    (void)ctx;
    return getenv(name);
}

static void read_file(struct gdfo_config *c, const char *path, struct gdfo_config_faults *faults)
{
    struct gdfo_buf text;
    struct gdfo_error err = {0};
    gdfo_buf_init(&text, FILE_MAX_BYTES);
    if (gdfo_file_read(path, &text, &err) == GDFO_STATUS_OK) {
        gdfo_config_read_text(c, text.data ? text.data : "", text.len, path, faults);
    } else {
        gdfo_config_fault(faults, "--config", "%s", err.text);
    }
    gdfo_buf_deinit(&text);
}

void gdfo_config_load(struct gdfo_config *c, int argc, char *const *argv,
                      struct gdfo_config_command *command, struct gdfo_config_faults *faults)
{
    *command = (struct gdfo_config_command){GDFO_CONFIG_RUN, NULL};
    gdfo_config_read_args(c, argc, argv, command, faults);
    if (command->file) {
        read_file(c, command->file, faults);
    }
    gdfo_config_read_env(c, real_environment, NULL, faults);
    gdfo_config_settle(c, real_environment, NULL, faults);
}

/* ---- secrets --------------------------------------------------------------------------------- */

static enum gdfo_status read_credential(const char *name, struct gdfo_buf *out,
                                        struct gdfo_error *err)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char path[GDFO_OPT_PATH_BYTES];
    if (!folder || strchr(name, '/') || name[0] == '.' || name[0] == '\0') {
        return gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                              "secret_ref cred:%.64s: want a file's name in "
                              "$CREDENTIALS_DIRECTORY, which is %s",
                              name, folder ? "set" : "not set");
    }
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT, "secret_ref cred:%.64s: its path is too long",
                              name);
    }
    return gdfo_file_read(path, out, err);
}

/* Locked memory is the net's: this copy is short-lived, and wiped by the caller. */
static enum gdfo_status take_secret(const char *ref, const char *value, char *out, size_t cap,
                                    struct gdfo_error *err)
{
    const size_t n = strcspn(value, "\r\n");
    if (n == 0 || n >= cap) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "secret_ref %.64s: its first line is empty or longer than %zu bytes",
                              ref, cap - 1);
    }
    memcpy(out, value, n);
    out[n] = '\0';
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_config_secret(const char *ref, char *out, size_t cap, struct gdfo_error *err)
{
    enum gdfo_status status;
    struct gdfo_buf file;
    out[0] = '\0';
    if (!ref[0]) {
        return GDFO_STATUS_OK;
    }
    if (strncmp(ref, "env:", 4) == 0) {
        return getenv(ref + 4) ? take_secret(ref, getenv(ref + 4), out, cap, err)
                               : gdfo_error_set(err, GDFO_STATUS_NOT_FOUND,
                                                "secret_ref %.64s: the variable is not set", ref);
    }
    if (strncmp(ref, "cred:", 5) != 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "secret_ref: want env:NAME or cred:NAME, never the secret itself");
    }
    gdfo_buf_init(&file, 65536);
    status = read_credential(ref + 5, &file, err);
    if (status == GDFO_STATUS_OK) {
        status = take_secret(ref, file.data ? file.data : "", out, cap, err);
    }
    if (file.data) {
        gdfo_mem_wipe(file.data, file.len);
    }
    gdfo_buf_deinit(&file);
    return status;
}
