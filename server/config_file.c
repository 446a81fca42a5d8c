/*
 * The configuration file: [section] lines, key = value lines, # comments. A key is section.key, or
 * stands whole where no section is open. [teacher NAME] and [student NAME] hold keys of their own.
 */
#include "common/parse.h"
#include "server/config_priv.h"

#include <stdio.h>
#include <string.h>

#define LINE_MAX_BYTES    4096
#define SECTION_MAX_BYTES 128

static const struct gdfo_opt teacher_rows[] = {
    {"adapter", GDFO_OPT_STR, offsetof(struct gdfo_config_teacher, adapter), "embedded", 0, 0, NULL,
     "how it is reached"},
    {"model", GDFO_OPT_PATH, offsetof(struct gdfo_config_teacher, model), "", 0, 0, NULL,
     "stem of a file in models.dir; over HTTP, the model as its server names it"},
    {"local", GDFO_OPT_STR, offsetof(struct gdfo_config_teacher, local), "", 0, 0, NULL,
     "over HTTP: a model in models.dir with the teacher's tokenizer"},
    {"base_url", GDFO_OPT_PATH, offsetof(struct gdfo_config_teacher, base_url), "", 0, 0, NULL,
     "over HTTP: https://host[:port], several by commas for replicas"},
    {"allow_cidrs", GDFO_OPT_PATH, offsetof(struct gdfo_config_teacher, allow_cidrs), "", 0, 0,
     NULL, "private ranges that base_url may lead to"},
    {"secret_ref", GDFO_OPT_STR, offsetof(struct gdfo_config_teacher, secret_ref), "", 0, 0, NULL,
     "where its key is: env:NAME or cred:NAME"},
    {"ca_file", GDFO_OPT_PATH, offsetof(struct gdfo_config_teacher, ca_file), "", 0, 0, NULL,
     "certificates to trust instead of the system's"},
    {"max_inflight", GDFO_OPT_INT, offsetof(struct gdfo_config_teacher, max_inflight), "8", 1, 1024,
     NULL, "requests at a time"},
    {"timeout_ms", GDFO_OPT_INT, offsetof(struct gdfo_config_teacher, timeout_ms), "60000", 1000,
     600000, NULL, "of one request"},
    {"requests_per_minute", GDFO_OPT_NUM, offsetof(struct gdfo_config_teacher, requests_per_minute),
     "0", 0, 1e9, NULL, "0 = no limit"},
    {"tokens_per_minute", GDFO_OPT_NUM, offsetof(struct gdfo_config_teacher, tokens_per_minute),
     "0", 0, 1e12, NULL, "0 = no limit"},
    {"idempotent", GDFO_OPT_BOOL, offsetof(struct gdfo_config_teacher, idempotent), "false", 0, 0,
     NULL, "its server honours Idempotency-Key"},
    {0}};

static const struct gdfo_opt student_rows[] = {{"file", GDFO_OPT_PATH,
                                                offsetof(struct gdfo_config_student, file), "", 0,
                                                0, NULL, "name of a file in models.dir"},
                                               {0}};

struct parser {
    struct gdfo_config *c;
    struct gdfo_config_faults *faults;
    const char *name; /* of the file */
    size_t line;
    char where[512];
    char section[SECTION_MAX_BYTES]; /* "" or "http" */
    const struct gdfo_opt *rows;     /* of a named section; NULL: config.def's */
    void *values;
    size_t first_line[GDFO_CONFIG_KEYS_MAX]; /* where a key stood first; 0: not yet */
};

/* Cuts blanks off both ends, in place. */
static char *trim(char *s)
{
    size_t n;
    s += strspn(s, " \t\r");
    n = strlen(s);
    while (n > 0 && strchr(" \t\r", s[n - 1])) {
        s[--n] = '\0';
    }
    return s;
}

/* A comment begins at a # that starts the line or follows a blank. */
static void cut_comment(char *s)
{
    for (char *p = s; *p; p++) {
        if (*p == '#' && (p == s || p[-1] == ' ' || p[-1] == '\t')) {
            *p = '\0';
            return;
        }
    }
}

static int is_name(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return n > 0 && n < GDFO_OPT_STR_BYTES && s[n] == '\0';
}

static void open_teacher(struct parser *p, const char *name)
{
    struct gdfo_config *c = p->c;
    struct gdfo_config_teacher *t = &c->teachers[c->n_teachers];
    for (size_t i = 0; i < c->n_teachers; i++) {
        if (strcmp(c->teachers[i].name, name) == 0) {
            gdfo_config_fault(p->faults, p->where, "[teacher %s] stands there already", name);
        }
    }
    if (c->n_teachers == GDFO_CONFIG_SECTIONS_MAX) {
        gdfo_config_fault(p->faults, p->where, "more than %d teachers", GDFO_CONFIG_SECTIONS_MAX);
        return;
    }
    c->n_teachers++;
    GDFO_IGNORE(snprintf(t->name, sizeof t->name, "%s", name));
    gdfo_opt_defaults(teacher_rows, t);
    p->rows = teacher_rows;
    p->values = t;
}

static void open_student(struct parser *p, const char *name)
{
    struct gdfo_config *c = p->c;
    struct gdfo_config_student *s = &c->students[c->n_students];
    for (size_t i = 0; i < c->n_students; i++) {
        if (strcmp(c->students[i].name, name) == 0) {
            gdfo_config_fault(p->faults, p->where, "[student %s] stands there already", name);
        }
    }
    if (c->n_students == GDFO_CONFIG_SECTIONS_MAX) {
        gdfo_config_fault(p->faults, p->where, "more than %d students", GDFO_CONFIG_SECTIONS_MAX);
        return;
    }
    c->n_students++;
    GDFO_IGNORE(snprintf(s->name, sizeof s->name, "%s", name));
    gdfo_opt_defaults(student_rows, s);
    p->rows = student_rows;
    p->values = s;
}

static void take_section(struct parser *p, char *line)
{
    char *end = strchr(line, ']');
    char *word = trim(line + 1);
    char *name;
    p->rows = NULL;
    p->section[0] = '\0';
    if (!end || end[1] != '\0') {
        gdfo_config_fault(p->faults, p->where, "'%.64s'; want [section]", line);
        return;
    }
    *end = '\0';
    word = trim(word);
    name = word + strcspn(word, " \t");
    if (!*name && is_name(word)) {
        GDFO_IGNORE(snprintf(p->section, sizeof p->section, "%s", word));
        return;
    }
    if (*name) {
        *name++ = '\0';
        name = trim(name);
    }
    if (strcmp(word, "teacher") == 0 && is_name(name)) {
        open_teacher(p, name);
    } else if (strcmp(word, "student") == 0 && is_name(name)) {
        open_student(p, name);
    } else {
        gdfo_config_fault(p->faults, p->where,
                          "[%.64s %.64s]; want [section], [teacher NAME] or [student NAME]", word,
                          name);
    }
}

static void check_repeated(struct parser *p, const char *key)
{
    const struct gdfo_opt *rows = gdfo_config_rows();
    for (size_t i = 0; rows[i].name; i++) {
        if (strcmp(rows[i].name, key) != 0) {
            continue;
        }
        if (p->first_line[i]) {
            gdfo_config_fault(p->faults, p->where, "%s stands in line %zu already", key,
                              p->first_line[i]);
        } else {
            p->first_line[i] = p->line;
        }
    }
}

/* options.KEY of a teacher: its adapter knows whether it is one. */
static void take_option(struct parser *p, const char *key, const char *value)
{
    struct gdfo_config_teacher *t = p->values;
    if (t->n_options == GDFO_CONFIG_TEACHER_OPTIONS_MAX ||
        strlen(key) >= sizeof t->options[0].name || strlen(value) >= sizeof t->options[0].value) {
        gdfo_config_fault(p->faults, p->where,
                          "options.%.64s: at most %d options, keys under %zu and values under %zu "
                          "bytes",
                          key, GDFO_CONFIG_TEACHER_OPTIONS_MAX, sizeof t->options[0].name,
                          sizeof t->options[0].value);
        return;
    }
    GDFO_IGNORE(snprintf(t->options[t->n_options].name, sizeof t->options[0].name, "%s", key));
    GDFO_IGNORE(snprintf(t->options[t->n_options].value, sizeof t->options[0].value, "%s", value));
    t->n_options++;
}

static void take_setting(struct parser *p, char *line)
{
    char key[SECTION_MAX_BYTES * 2];
    struct gdfo_error err = {0};
    char *equals = strchr(line, '=');
    char *value;
    if (!equals) {
        gdfo_config_fault(p->faults, p->where, "'%.64s'; want key = value", line);
        return;
    }
    *equals = '\0';
    line = trim(line);
    value = trim(equals + 1);
    if (p->rows == teacher_rows && strncmp(line, "options.", 8) == 0) {
        take_option(p, line + 8, value);
        return;
    }
    if (p->rows) {
        if (gdfo_opt_set_text(p->rows, p->values, line, value, &err) != GDFO_STATUS_OK) {
            gdfo_config_fault(p->faults, p->where, "%s", err.text);
        }
        return;
    }
    GDFO_IGNORE(
        snprintf(key, sizeof key, "%s%s%.100s", p->section, p->section[0] ? "." : "", line));
    check_repeated(p, key);
    gdfo_config_set(p->c, GDFO_CONFIG_FILE, key, value, p->where, p->faults);
}

static void take_line(struct parser *p, const char *text, size_t n)
{
    char line[LINE_MAX_BYTES];
    char *s;
    p->line++;
    GDFO_IGNORE(snprintf(p->where, sizeof p->where, "%.480s:%zu", p->name, p->line));
    if (n >= sizeof line || memchr(text, '\0', n) || gdfo_utf8_valid(text, n) != n) {
        gdfo_config_fault(p->faults, p->where, "a line of %zu bytes; want UTF-8 of at most %d", n,
                          LINE_MAX_BYTES - 1);
        return;
    }
    memcpy(line, text, n);
    line[n] = '\0';
    cut_comment(line);
    s = trim(line);
    if (*s == '[') {
        take_section(p, s);
    } else if (*s) {
        take_setting(p, s);
    }
}

void gdfo_config_read_text(struct gdfo_config *c, const char *text, size_t n, const char *name,
                           struct gdfo_config_faults *faults)
{
    struct parser p = {.c = c, .faults = faults, .name = name};
    size_t at = 0;
    while (at < n) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t length = end ? (size_t)(end - (text + at)) : n - at;
        take_line(&p, text + at, length);
        at += length + 1;
    }
}
