#include "server/task/task.h"

#include "common/mem.h"
#include "server/task/quote.h"

#include <math.h>
#include <string.h>

struct gdfo_task {
    const struct gdfo_task_ops *kind;
    struct gdfo_task_options options;
    char *template, *cue;
    int is_pair, has_mask;
    size_t n_labels, n_forms;
    struct gdfo_label_words *labels; /* [n_labels]; words with their leading blank */
    char *unused;                    /* a label of the verbalizer that the data lacks, or NULL */
    uint32_t positive;
};

static int is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The slot in a template, where a doubled brace is none. */
static const char *find_mask(const char *template)
{
    for (const char *s = template; *s != '\0'; s++) {
        if ((s[0] == '{' || s[0] == '}') && s[1] == s[0]) {
            s++;
        } else if (strncmp(s, GDFO_TASK_MASK_SLOT, strlen(GDFO_TASK_MASK_SLOT)) == 0) {
            return s;
        }
    }
    return NULL;
}

/* A mask that the text names: a word stands there after a blank unless it is the first of all. */
static int mask_is_after_text(const struct gdfo_task_spec *spec, int *has_mask)
{
    const char *template = spec->template ? spec->template : "";
    const char *in_template = find_mask(template);
    *has_mask = in_template || strstr(spec->cue, GDFO_TASK_MASK_SLOT);
    return in_template != template || !in_template;
}

/* The rule of label_space: " great" after "It was", "great" after "Label:\n". */
static int needs_blank(const struct gdfo_task_spec *spec, const char *word)
{
    size_t n = strlen(spec->cue);
    int has_mask = 0;
    int is_after = mask_is_after_text(spec, &has_mask);
    if (has_mask) {
        return spec->options.label_space == GDFO_TASK_LABEL_SPACE_AUTO && is_after &&
               !is_white(word[0]);
    }
    return spec->options.label_space == GDFO_TASK_LABEL_SPACE_AUTO && n > 0 &&
           !is_white(spec->cue[n - 1]) && !is_white(word[0]);
}

static char *make_form(const struct gdfo_task_spec *spec, const char *word)
{
    size_t blank = needs_blank(spec, word) ? 1 : 0;
    size_t n = strlen(word);
    char *form = gdfo_mem_array(n + blank + 1, 1);
    if (form != NULL) {
        form[0] = ' ';
        memcpy(form + blank, word, n);
    }
    return form;
}

static const struct gdfo_label_words *find_entry(const struct gdfo_task_spec *spec,
                                                 const char *label)
{
    for (size_t i = 0; i < spec->n_verbalizer; i++) {
        if (strcmp(spec->verbalizer[i].label, label) == 0) {
            return &spec->verbalizer[i];
        }
    }
    return NULL;
}

static enum gdfo_status invalid(struct gdfo_error *err, const char *member)
{
    gdfo_error_at(err, member, "invalid_value");
    return GDFO_STATUS_INVALID;
}

/* The same word with and without its own blank is one form: a second look after the blank rule. */
static enum gdfo_status check_form(const struct gdfo_task *t, size_t n_labels, const char *form,
                                   struct gdfo_error *err)
{
    for (size_t i = 0; i < n_labels; i++) {
        for (size_t k = 0; k < t->labels[i].n_words; k++) {
            if (strcmp(t->labels[i].words[k], form) == 0) {
                gdfo_error_set(err, GDFO_STATUS_INVALID,
                               "the word %s stands for two labels, one of them %s",
                               gdfo_task_quote(form).s, gdfo_task_quote(t->labels[i].label).s);
                return invalid(err, "/verbalizer");
            }
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status add_label(struct gdfo_task *t, const struct gdfo_task_spec *spec,
                                  const char *label, struct gdfo_error *err)
{
    const struct gdfo_label_words *entry = find_entry(spec, label);
    struct gdfo_label_words *to = &t->labels[t->n_labels];
    size_t n = entry != NULL ? entry->n_words : 1;
    if (spec->n_verbalizer > 0 && entry == NULL) {
        gdfo_error_set(err, GDFO_STATUS_INVALID, "no words for the label %s of the training data",
                       gdfo_task_quote(label).s);
        gdfo_error_at(err, "/verbalizer", "label_set_mismatch");
        return GDFO_STATUS_INVALID;
    }
    t->n_labels++; /* from here on destroy ends what is half built */
    to->label = gdfo_mem_dup_str(label);
    to->words = gdfo_mem_array(n, sizeof *to->words);
    if (to->label == NULL || to->words == NULL) {
        return gdfo_error_no_memory(err, "making a task");
    }
    for (size_t k = 0; k < n; k++) {
        char *form = make_form(spec, entry != NULL ? entry->words[k] : label);
        if (form == NULL) {
            return gdfo_error_no_memory(err, "making a task");
        }
        enum gdfo_status status = check_form(t, t->n_labels, form, err);
        to->words[to->n_words++] = form;
        t->n_forms++;
        if (status != GDFO_STATUS_OK) {
            return status;
        }
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status find_positive(struct gdfo_task *t, const char *name, struct gdfo_error *err)
{
    if (name == NULL) {
        return GDFO_STATUS_OK;
    }
    for (size_t i = 0; i < t->n_labels; i++) {
        if (strcmp(t->labels[i].label, name) == 0) {
            t->positive = (uint32_t)i;
            return GDFO_STATUS_OK;
        }
    }
    gdfo_error_set(err, GDFO_STATUS_INVALID, "positive_label %s does not occur in the data",
                   gdfo_task_quote(name).s);
    return invalid(err, "/positive_label");
}

/* Labels of the verbalizer that never occur are allowed (a preset may know more) but shown. */
static enum gdfo_status find_unused(struct gdfo_task *t, const struct gdfo_task_spec *spec,
                                    struct gdfo_error *err)
{
    for (size_t i = 0; i < spec->n_verbalizer; i++) {
        int is_used = 0;
        for (size_t k = 0; k < t->n_labels; k++) {
            is_used |= strcmp(spec->verbalizer[i].label, t->labels[k].label) == 0;
        }
        if (!is_used) {
            t->unused = gdfo_mem_dup_str(spec->verbalizer[i].label);
            return t->unused != NULL ? GDFO_STATUS_OK : gdfo_error_no_memory(err, "making a task");
        }
    }
    return GDFO_STATUS_OK;
}

/* {mask} in the cue becomes the mask's byte: the template's is rendered, the cue is text. */
static enum gdfo_status place_mask(struct gdfo_task *t, struct gdfo_error *err)
{
    const size_t n_slot = strlen(GDFO_TASK_MASK_SLOT);
    char *in_cue = strstr(t->cue, GDFO_TASK_MASK_SLOT);
    const int in_template = find_mask(t->template) != NULL;
    t->has_mask = in_cue || in_template;
    if (in_cue && (in_template || strstr(in_cue + n_slot, GDFO_TASK_MASK_SLOT))) {
        gdfo_error_set(err, GDFO_STATUS_INVALID,
                       "{mask} stands twice in template and cue; want it once");
        return invalid(err, "/cue");
    }
    if (in_cue) {
        *in_cue = GDFO_TASK_MASK;
        memmove(in_cue + 1, in_cue + n_slot, strlen(in_cue + n_slot) + 1);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status take_template(struct gdfo_task *t, const struct gdfo_task_spec *spec,
                                      struct gdfo_error *err)
{
    const char *template = spec->template;
    if (template == NULL) {
        template = spec->kind->default_template(t->is_pair);
    }
    if (spec->kind->check_template(template, t->is_pair, err) != GDFO_STATUS_OK) {
        return invalid(err, "/template");
    }
    t->template = gdfo_mem_dup_str(template);
    t->cue = gdfo_mem_dup_str(spec->cue);
    return t->template != NULL && t->cue != NULL ? place_mask(t, err)
                                                 : gdfo_error_no_memory(err, "making a task");
}

static enum gdfo_status build(struct gdfo_task *t, const struct gdfo_task_spec *spec,
                              const char *const *labels, size_t n_labels, struct gdfo_error *err)
{
    enum gdfo_status status = take_template(t, spec, err);
    t->labels = gdfo_mem_array(n_labels, sizeof *t->labels);
    if (status == GDFO_STATUS_OK && t->labels == NULL) {
        status = gdfo_error_no_memory(err, "making a task");
    }
    for (size_t i = 0; i < n_labels && status == GDFO_STATUS_OK; i++) {
        status = add_label(t, spec, labels[i], err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_positive(t, spec->positive_label, err);
    }
    if (status == GDFO_STATUS_OK) {
        status = find_unused(t, spec, err);
    }
    return status;
}

enum gdfo_status gdfo_task_create(struct gdfo_task **out, const struct gdfo_task_spec *spec,
                                  const char *const *labels, size_t n_labels, int is_pair,
                                  struct gdfo_error *err)
{
    if (n_labels < 2 || n_labels > GDFO_DATASET_LABELS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%zu labels; want 2..%u", n_labels,
                              GDFO_DATASET_LABELS_MAX);
    }
    struct gdfo_task *t = gdfo_mem_array(1, sizeof *t);
    if (t == NULL) {
        return gdfo_error_no_memory(err, "making a task");
    }
    t->kind = spec->kind;
    t->options = spec->options;
    t->is_pair = is_pair;
    enum gdfo_status status = build(t, spec, labels, n_labels, err);
    if (status == GDFO_STATUS_OK) {
        *out = t;
    } else {
        gdfo_task_destroy(t);
    }
    return status;
}

void gdfo_task_destroy(struct gdfo_task *t)
{
    if (t == NULL) {
        return;
    }
    for (size_t i = 0; i < t->n_labels; i++) {
        for (size_t k = 0; k < t->labels[i].n_words; k++) {
            gdfo_mem_free(t->labels[i].words[k]);
        }
        gdfo_mem_free(t->labels[i].words);
        gdfo_mem_free(t->labels[i].label);
    }
    gdfo_mem_free(t->labels);
    gdfo_mem_free(t->template);
    gdfo_mem_free(t->cue);
    gdfo_mem_free(t->unused);
    gdfo_mem_free(t);
}

/* ---- looking at it ---- */

size_t gdfo_task_n_labels(const struct gdfo_task *t)
{
    return t->n_labels;
}

const char *gdfo_task_label(const struct gdfo_task *t, size_t label)
{
    return t->labels[label].label;
}

size_t gdfo_task_n_words(const struct gdfo_task *t, size_t label)
{
    return t->labels[label].n_words;
}

const char *gdfo_task_word(const struct gdfo_task *t, size_t label, size_t i)
{
    return t->labels[label].words[i];
}

size_t gdfo_task_n_forms(const struct gdfo_task *t)
{
    return t->n_forms;
}

const char *gdfo_task_cue(const struct gdfo_task *t)
{
    return t->cue;
}

int gdfo_task_has_mask(const struct gdfo_task *t)
{
    return t->has_mask;
}

int gdfo_task_is_pair(const struct gdfo_task *t)
{
    return t->is_pair;
}

const char *gdfo_task_unused_label(const struct gdfo_task *t)
{
    return t->unused;
}

const struct gdfo_task_options *gdfo_task_options_of(const struct gdfo_task *t)
{
    return &t->options;
}

/* ---- using it ---- */

enum gdfo_status gdfo_task_render(const struct gdfo_task *t, const struct gdfo_row *row,
                                  struct gdfo_buf *out, struct gdfo_error *err)
{
    if ((row->text_b != NULL) != t->is_pair) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "%s; want %s",
                              t->is_pair ? "one text" : "two texts",
                              t->is_pair ? "text_a and text_b" : "text");
    }
    t->kind->render(t->template, row, out);
    if (!gdfo_buf_ok(out)) {
        return gdfo_error_set(err, GDFO_STATUS_LIMIT,
                              "a rendered example does not fit into %zu bytes", out->max);
    }
    return GDFO_STATUS_OK;
}

/* One label's words: log of the sum of probabilities, or the mean of their logarithms. */
static double join_words(const float *lp, size_t n, int words)
{
    double x[GDFO_TASK_WORDS_MAX];
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        x[i] = (double)lp[i];
        sum += x[i];
    }
    return words == GDFO_TASK_WORDS_MEAN ? sum / (double)n : gdfo_metric_logsumexp(x, n);
}

void gdfo_task_combine(const struct gdfo_task *t, const float *lp_forms, size_t n, float *lp)
{
    const float *from = lp_forms;
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < t->n_labels; c++) {
            size_t k = t->labels[c].n_words;
            *lp++ = k == 1 ? *from : (float)join_words(from, k, t->options.words);
            from += k;
        }
    }
}

static struct gdfo_loss_spec loss_spec(const struct gdfo_task *t)
{
    return (struct gdfo_loss_spec){(enum gdfo_loss)t->options.loss, t->options.margin};
}

double gdfo_task_loss(const struct gdfo_task *t, const struct gdfo_answers *a, double *each)
{
    struct gdfo_loss_spec spec = loss_spec(t);
    return t->kind->loss(&spec, a, each);
}

void gdfo_task_loss_gradient(const struct gdfo_task *t, const struct gdfo_answers *a, double *grad)
{
    struct gdfo_loss_spec spec = loss_spec(t);
    t->kind->loss_gradient(&spec, a, grad);
}

double gdfo_task_metric(const struct gdfo_task *t, const struct gdfo_answers *a)
{
    return t->kind->metric((enum gdfo_metric)t->options.metric, t->positive, a);
}
