#include "server/task/spec.h"

#include "common/mem.h"
#include "common/parse.h"
#include "server/task/kind.h"
#include "server/task/quote.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * DESIGN. The members are rows of a table, each with its parser; what the request leaves out (or
 * sets to null) is looked up in the preset, then has its default. All faults are reported, so no
 * parser stops the next one. Memory failing is kept apart: it ends the parse with NO_MEMORY.
 */
#define POINTER_BYTES 256

struct parse {
    struct gdfo_task_spec *out;
    const struct gdfo_json *task, *preset; /* objects or NULL */
    const char *prefix;
    gdfo_opt_fault fault;
    void *ctx;
    struct gdfo_error *err; /* the first fault */
    size_t n_faults;
    int is_out_of_memory;
};

/* path is relative to the task object, already escaped: "/cue". */
GDFO_PRINTF(4, 5)
static void report(struct parse *p, const char *path, const char *code, const char *fmt, ...)
{
    char pointer[POINTER_BYTES];
    char words[GDFO_ERROR_TEXT_MAX / 2];
    va_list args;
    GDFO_IGNORE(snprintf(pointer, sizeof pointer, "%s%s", p->prefix, path));
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(words, sizeof words, fmt, args));
    va_end(args);
    if (p->n_faults++ == 0) {
        gdfo_error_set(p->err, GDFO_STATUS_INVALID, "%s %s", pointer, words);
        gdfo_error_at(p->err, pointer, code);
    }
    if (p->fault != NULL) {
        p->fault(p->ctx, pointer, code, words);
    }
}

/* One more step of a pointer, escaped as RFC 6901 asks. */
static void add_step(char path[POINTER_BYTES], const char *key)
{
    size_t n = strlen(path);
    path[n++] = '/';
    for (; *key != '\0' && n + 3 < POINTER_BYTES; key++) {
        if (*key == '~' || *key == '/') {
            path[n++] = '~';
            path[n++] = *key == '~' ? '0' : '1';
        } else {
            path[n++] = *key;
        }
    }
    path[n] = '\0';
}

static const struct gdfo_json *member_of(const struct gdfo_json *object, const char *name)
{
    const struct gdfo_json *v = object != NULL ? gdfo_json_get(object, name) : NULL;
    return v != NULL && gdfo_json_type(v) != GDFO_JSON_NULL ? v : NULL;
}

/* The request's value, else the preset's, else NULL. */
static const struct gdfo_json *value_of(const struct parse *p, const char *name)
{
    const struct gdfo_json *v = member_of(p->task, name);
    return v != NULL ? v : member_of(p->preset, name);
}

static char *dup_or_fail(struct parse *p, const char *s)
{
    char *copy = gdfo_mem_dup_str(s);
    p->is_out_of_memory |= copy == NULL;
    return copy;
}

/* A string of min..max bytes, copied; NULL after a report. */
static char *take_string(struct parse *p, const char *path, const struct gdfo_json *v, size_t min,
                         size_t max)
{
    const char *s = gdfo_json_string(v);
    if (s == NULL) {
        report(p, path, "invalid_value", "is %s; want a string",
               gdfo_json_type_name(gdfo_json_type(v)));
        return NULL;
    }
    if (strlen(s) < min || strlen(s) > max) {
        report(p, path, "invalid_value", "has %zu bytes; want %zu..%zu", strlen(s), min, max);
        return NULL;
    }
    return dup_or_fail(p, s);
}

/* ---- the members, one parser each; v is not NULL ---- */

static void take_kind(struct parse *p, const struct gdfo_json *v)
{
    const char *name = gdfo_json_string(v);
    const struct gdfo_task_ops *kind = name != NULL ? gdfo_task_find_kind(name) : NULL;
    if (kind != NULL) {
        p->out->kind = kind;
    } else {
        report(p, "/kind", "invalid_value", "is %s; want %s",
               name != NULL ? gdfo_task_quote(name).s : gdfo_json_type_name(gdfo_json_type(v)),
               gdfo_task_kind(0)->name);
    }
}

static void take_preset(struct parse *p, const struct gdfo_json *v)
{
    (void)v; /* read before all others: see load_preset */
    (void)p;
}

static void take_template(struct parse *p, const struct gdfo_json *v)
{
    struct gdfo_error one = {0};
    struct gdfo_error two = {0};
    char *text = take_string(p, "/template", v, 1, GDFO_TASK_TEMPLATE_MAX_BYTES);
    p->out->template = text;
    if (text == NULL) {
        return;
    }
    if (p->out->kind->check_template(text, 0, &one) != GDFO_STATUS_OK &&
        p->out->kind->check_template(text, 1, &two) != GDFO_STATUS_OK) {
        report(p, "/template", "invalid_value", "%s",
               strstr(text, "{text_a}") != NULL ? two.text : one.text);
    }
}

static void take_cue(struct parse *p, const struct gdfo_json *v)
{
    p->out->cue = take_string(p, "/cue", v, 0, GDFO_TASK_CUE_MAX_BYTES);
}

static void take_positive_label(struct parse *p, const struct gdfo_json *v)
{
    p->out->positive_label = take_string(p, "/positive_label", v, 1, GDFO_DATASET_LABEL_MAX_BYTES);
}

static void take_k_shot(struct parse *p, const struct gdfo_json *v)
{
    int64_t k = 0;
    if (!gdfo_json_int(v, &k)) {
        report(p, "/k_shot", "invalid_value", "is %s; want an integer 1..%d or null",
               gdfo_json_type_name(gdfo_json_type(v)), GDFO_TASK_K_SHOT_MAX);
    } else if (k < 1 || k > GDFO_TASK_K_SHOT_MAX) {
        report(p, "/k_shot", "invalid_value", "is %lld; want 1..%d or null", (long long)k,
               GDFO_TASK_K_SHOT_MAX);
    } else {
        p->out->k_shot = (uint32_t)k;
    }
}

static const struct gdfo_json *take_array(struct parse *p, const char *path,
                                          const struct gdfo_json *v)
{
    if (gdfo_json_type(v) != GDFO_JSON_ARRAY) {
        report(p, path, "invalid_value", "is %s; want an array of examples",
               gdfo_json_type_name(gdfo_json_type(v)));
        return NULL;
    }
    if (gdfo_json_size(v) > GDFO_DATASET_INLINE_MAX) {
        report(p, path, "invalid_value", "has %zu examples; want at most %u, or upload a file",
               gdfo_json_size(v), GDFO_DATASET_INLINE_MAX);
        return NULL;
    }
    return v;
}

static void take_examples(struct parse *p, const struct gdfo_json *v)
{
    p->out->examples = take_array(p, "/examples", v);
}

static void take_validation_examples(struct parse *p, const struct gdfo_json *v)
{
    p->out->validation_examples = take_array(p, "/validation_examples", v);
}

/* ---- the verbalizer ---- */

static void take_words(struct parse *p, struct gdfo_label_words *entry, const char *path,
                       const struct gdfo_json *v)
{
    int is_string = gdfo_json_type(v) == GDFO_JSON_STRING;
    size_t n = is_string ? 1 : gdfo_json_size(v);
    if (!is_string && gdfo_json_type(v) != GDFO_JSON_ARRAY) {
        report(p, path, "invalid_value", "is %s; want a word or an array of 1..%u words",
               gdfo_json_type_name(gdfo_json_type(v)), GDFO_TASK_WORDS_MAX);
        return;
    }
    if (n < 1 || n > GDFO_TASK_WORDS_MAX) {
        report(p, path, "invalid_value", "has %zu words; want 1..%u", n, GDFO_TASK_WORDS_MAX);
        return;
    }
    entry->words = gdfo_mem_array(n, sizeof *entry->words);
    if (entry->words == NULL) {
        p->is_out_of_memory = 1;
        return;
    }
    const struct gdfo_json *word = is_string ? v : gdfo_json_first(v);
    for (size_t i = 0; i < n; i++) {
        char *copy = take_string(p, path, word, 1, GDFO_TASK_WORD_MAX_BYTES);
        if (copy != NULL) {
            entry->words[entry->n_words++] = copy;
        }
        word = is_string ? NULL : gdfo_json_next(word);
    }
}

/* The label that has the word among the entries before n; NULL when none. */
static const char *owner_of(const struct gdfo_task_spec *spec, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < spec->verbalizer[i].n_words; k++) {
            if (strcmp(spec->verbalizer[i].words[k], word) == 0) {
                return spec->verbalizer[i].label;
            }
        }
    }
    return NULL;
}

static void check_words(struct parse *p, size_t i, const char *path)
{
    const struct gdfo_label_words *entry = &p->out->verbalizer[i];
    for (size_t k = 0; k < entry->n_words; k++) {
        const char *other = owner_of(p->out, i, entry->words[k]);
        for (size_t m = 0; m < k && other == NULL; m++) {
            other = strcmp(entry->words[m], entry->words[k]) == 0 ? entry->label : NULL;
        }
        if (other != NULL) {
            report(p, path, "invalid_value", "has the word %s, which label %s has too",
                   gdfo_task_quote(entry->words[k]).s, gdfo_task_quote(other).s);
        }
    }
}

static void take_verbalizer(struct parse *p, const struct gdfo_json *v)
{
    size_t n = gdfo_json_size(v);
    if (gdfo_json_type(v) != GDFO_JSON_OBJECT || n == 0) {
        report(p, "/verbalizer", "invalid_value", "is %s; want an object from label to words",
               n == 0 && gdfo_json_type(v) == GDFO_JSON_OBJECT
                   ? "empty"
                   : gdfo_json_type_name(gdfo_json_type(v)));
        return;
    }
    p->out->verbalizer = gdfo_mem_array(n, sizeof *p->out->verbalizer);
    if (p->out->verbalizer == NULL) {
        p->is_out_of_memory = 1;
        return;
    }
    for (const struct gdfo_json *m = gdfo_json_first(v); m != NULL; m = gdfo_json_next(m)) {
        char path[POINTER_BYTES] = "/verbalizer";
        const char *label = gdfo_json_key(m);
        size_t i = p->out->n_verbalizer++;
        add_step(path, label);
        if (label[0] == '\0' || strlen(label) > GDFO_DATASET_LABEL_MAX_BYTES) {
            report(p, path, "invalid_value", "label has %zu bytes; want 1..%u", strlen(label),
                   GDFO_DATASET_LABEL_MAX_BYTES);
        }
        p->out->verbalizer[i].label = dup_or_fail(p, label);
        take_words(p, &p->out->verbalizer[i], path, m);
        check_words(p, i, path);
    }
}

/* kind first: others ask it; written in this order, so that the output is stable. */
static const struct member {
    const char *name;
    void (*take)(struct parse *p, const struct gdfo_json *v);
} members[] = {
    {"kind", take_kind},
    {"preset", take_preset},
    {"template", take_template},
    {"cue", take_cue},
    {"verbalizer", take_verbalizer},
    {"positive_label", take_positive_label},
    {"k_shot", take_k_shot},
    {"examples", take_examples},
    {"validation_examples", take_validation_examples},
};
#define N_MEMBERS (sizeof members / sizeof members[0])

/* ---- the option table of the kind ---- */

static void take_option(struct parse *p, const struct gdfo_opt *opt)
{
    const struct gdfo_json *v = value_of(p, opt->name);
    struct gdfo_error err = {0};
    char path[POINTER_BYTES] = "";
    char number[40];
    double x = 0;
    const char *text = v != NULL ? gdfo_json_string(v) : NULL;
    int is_number = opt->type == GDFO_OPT_NUM || opt->type == GDFO_OPT_INT;
    if (v == NULL) {
        return;
    }
    add_step(path, opt->name);
    if (is_number && gdfo_json_number(v, &x)) {
        GDFO_IGNORE(snprintf(number, sizeof number, "%.17g", x));
        text = number;
    } else if (is_number || text == NULL) {
        report(p, path, "invalid_value", "is %s; want %s", gdfo_json_type_name(gdfo_json_type(v)),
               is_number ? "a number" : "a string");
        return;
    }
    if (gdfo_opt_set_text(p->out->kind->opts, &p->out->options, opt->name, text, &err) !=
        GDFO_STATUS_OK) {
        report(p, path, "invalid_value", "%s", err.text);
    }
}

static int is_known(const struct parse *p, const char *key)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        if (strcmp(members[i].name, key) == 0) {
            return 1;
        }
    }
    for (const struct gdfo_opt *o = p->out->kind->opts; o->name != NULL; o++) {
        if (strcmp(o->name, key) == 0) {
            return 1;
        }
    }
    return 0;
}

static void check_unknown(struct parse *p)
{
    for (const struct gdfo_json *v = p->task != NULL ? gdfo_json_first(p->task) : NULL; v != NULL;
         v = gdfo_json_next(v)) {
        char path[POINTER_BYTES] = "";
        if (!is_known(p, gdfo_json_key(v))) {
            add_step(path, gdfo_json_key(v));
            report(p, path, "unknown_field", "is no member of a task");
        }
    }
}

static void check_metric(struct parse *p)
{
    int is_f1 = p->out->options.metric == GDFO_METRIC_F1;
    if (is_f1 && p->out->positive_label == NULL && member_of(p->task, "positive_label") == NULL) {
        report(p, "/positive_label", "missing_field", "is needed by the metric f1");
    }
    if (!is_f1 && p->out->positive_label != NULL) {
        report(p, "/positive_label", "invalid_value", "goes with the metric f1 only");
    }
}

/* ---- the whole ---- */

/* Finds the preset's object; *owned is to be destroyed after the parse. */
static void load_preset(struct parse *p, struct gdfo_json **owned)
{
    const struct gdfo_json *v = member_of(p->task, "preset");
    const char *name = v != NULL ? gdfo_json_string(v) : NULL;
    const char *text = name != NULL ? gdfo_task_preset_text(name) : NULL;
    struct gdfo_error err = {0};
    if (v == NULL) {
        return;
    }
    if (text == NULL) {
        char known[128] = "";
        for (const char *const *k = gdfo_task_preset_names(); *k != NULL; k++) {
            size_t n = strlen(known);
            GDFO_IGNORE(snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", *k));
        }
        report(p, "/preset", "invalid_value", "is %s; want one of %s",
               name != NULL ? gdfo_task_quote(name).s : gdfo_json_type_name(gdfo_json_type(v)),
               known);
        return;
    }
    p->out->preset = dup_or_fail(p, name);
    if (gdfo_json_parse(owned, text, strlen(text), NULL, &err) == GDFO_STATUS_OK) {
        p->preset = *owned;
    } else {
        p->is_out_of_memory = 1; /* a test parses every preset, so nothing else is left */
    }
}

static void parse_members(struct parse *p)
{
    for (size_t i = 0; i < N_MEMBERS; i++) {
        const struct gdfo_json *v = value_of(p, members[i].name);
        if (v != NULL) {
            members[i].take(p, v);
        }
        if (i == 0) { /* the kind is known */
            gdfo_opt_defaults(p->out->kind->opts, &p->out->options);
        }
    }
    for (const struct gdfo_opt *o = p->out->kind->opts; o->name != NULL; o++) {
        take_option(p, o);
    }
    check_unknown(p);
    check_metric(p);
    if (p->out->cue == NULL && p->n_faults == 0) {
        p->out->cue = dup_or_fail(p, "\nLabel:");
    }
}

enum gdfo_status gdfo_task_spec_parse(struct gdfo_task_spec *out, const struct gdfo_json *task,
                                      const char *prefix, gdfo_opt_fault fault, void *ctx,
                                      struct gdfo_error *err)
{
    struct gdfo_json *preset = NULL;
    struct parse p = {.out = out, .prefix = prefix, .fault = fault, .ctx = ctx, .err = err};
    memset(out, 0, sizeof *out);
    out->kind = gdfo_task_kind(0);
    if (task != NULL && gdfo_json_type(task) == GDFO_JSON_OBJECT) {
        p.task = task;
    } else if (task != NULL && gdfo_json_type(task) != GDFO_JSON_NULL) {
        report(&p, "", "invalid_value", "is %s; want an object",
               gdfo_json_type_name(gdfo_json_type(task)));
    }
    load_preset(&p, &preset);
    parse_members(&p);
    gdfo_json_destroy(preset);
    if (p.is_out_of_memory) {
        gdfo_task_spec_deinit(out);
        return gdfo_error_no_memory(err, "reading a task");
    }
    if (p.n_faults > 0) {
        gdfo_task_spec_deinit(out);
        return GDFO_STATUS_INVALID;
    }
    return GDFO_STATUS_OK;
}

void gdfo_task_spec_deinit(struct gdfo_task_spec *spec)
{
    for (size_t i = 0; i < spec->n_verbalizer; i++) {
        struct gdfo_label_words *entry = &spec->verbalizer[i];
        for (size_t k = 0; k < entry->n_words; k++) {
            gdfo_mem_free(entry->words[k]);
        }
        gdfo_mem_free(entry->words);
        gdfo_mem_free(entry->label);
    }
    gdfo_mem_free(spec->verbalizer);
    gdfo_mem_free(spec->preset);
    gdfo_mem_free(spec->template);
    gdfo_mem_free(spec->cue);
    gdfo_mem_free(spec->positive_label);
    memset(spec, 0, sizeof *spec);
}

static void write_verbalizer(const struct gdfo_task_spec *spec, struct gdfo_json_writer *w)
{
    if (spec->n_verbalizer == 0) {
        gdfo_json_put_null(w, "verbalizer");
        return;
    }
    gdfo_json_open(w, "verbalizer", '{');
    for (size_t i = 0; i < spec->n_verbalizer; i++) {
        gdfo_json_open(w, spec->verbalizer[i].label, '[');
        for (size_t k = 0; k < spec->verbalizer[i].n_words; k++) {
            gdfo_json_put_str(w, NULL, spec->verbalizer[i].words[k]);
        }
        gdfo_json_close(w, ']');
    }
    gdfo_json_close(w, '}');
}

void gdfo_task_spec_write_json(const struct gdfo_task_spec *spec, struct gdfo_json_writer *w)
{
    gdfo_json_put_str(w, "kind", spec->kind->name);
    gdfo_json_put_str(w, "preset", spec->preset);
    gdfo_json_put_str(w, "template", spec->template);
    gdfo_json_put_str(w, "cue", spec->cue);
    write_verbalizer(spec, w);
    gdfo_opt_write_json(spec->kind->opts, &spec->options, w);
    gdfo_json_put_str(w, "positive_label", spec->positive_label);
    if (spec->k_shot > 0) {
        gdfo_json_put_int(w, "k_shot", spec->k_shot);
    } else {
        gdfo_json_put_null(w, "k_shot");
    }
}
