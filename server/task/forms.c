#include "server/task/forms.h"

#include "common/mem.h"
#include "server/task/quote.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

GDFO_PRINTF(2, 3)
static void warn(struct gdfo_forms *f, const char *fmt, ...)
{
    va_list args;
    if (f->n_warnings == GDFO_FORM_WARNINGS_MAX) {
        return;
    }
    va_start(args, fmt);
    GDFO_IGNORE(vsnprintf(f->warnings[f->n_warnings++], sizeof f->warnings[0], fmt, args));
    va_end(args);
}

static enum gdfo_status encode_form(struct gdfo_form *form, const struct gdfo_task *t,
                                    const struct gdfo_encoder *encoder, struct gdfo_error *err)
{
    size_t n = 0;
    enum gdfo_status status = encoder->encode(encoder->ctx, form->text, strlen(form->text),
                                              form->ids, GDFO_FORM_TOKENS_MAX, &n, err);
    if (status == GDFO_STATUS_LIMIT || n > GDFO_FORM_TOKENS_MAX) {
        return gdfo_error_set(
            err, GDFO_STATUS_LIMIT, "the word %s of label %s has more than %u tokens",
            gdfo_task_quote(form->text).s, gdfo_task_quote(gdfo_task_label(t, form->label)).s,
            GDFO_FORM_TOKENS_MAX);
    }
    if (status == GDFO_STATUS_OK && n == 0) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID, "the word %s of label %s has no token",
                              gdfo_task_quote(form->text).s,
                              gdfo_task_quote(gdfo_task_label(t, form->label)).s);
    }
    form->n_ids = (uint32_t)n;
    return status;
}

static int has_same_ids(const struct gdfo_form *a, const struct gdfo_form *b)
{
    return a->n_ids == b->n_ids && memcmp(a->ids, b->ids, a->n_ids * sizeof a->ids[0]) == 0;
}

/*
 * Compares form i with all before it. The same tokens under two labels make the labels
 * indistinguishable; the same tokens twice under one label count twice, so that is refused too.
 */
static enum gdfo_status check_form(struct gdfo_forms *f, size_t i, const struct gdfo_task *t,
                                   struct gdfo_error *err)
{
    const struct gdfo_form *form = &f->items[i];
    int is_shared = 0;
    for (size_t k = 0; k < i; k++) {
        const struct gdfo_form *other = &f->items[k];
        if (has_same_ids(form, other)) {
            gdfo_error_set(
                err, GDFO_STATUS_INVALID,
                "the words %s of label %s and %s of label %s are the same tokens",
                gdfo_task_quote(other->text).s, gdfo_task_quote(gdfo_task_label(t, other->label)).s,
                gdfo_task_quote(form->text).s, gdfo_task_quote(gdfo_task_label(t, form->label)).s);
            gdfo_error_at(err, "/verbalizer", "label_forms_clash");
            return GDFO_STATUS_INVALID;
        }
        if (form->ids[0] == other->ids[0] && form->label != other->label && !is_shared) {
            is_shared = 1;
            warn(f, "the words %s and %s begin with the same token", gdfo_task_quote(other->text).s,
                 gdfo_task_quote(form->text).s);
        }
    }
    if (form->n_ids > 1) {
        f->is_single_token = 0;
        warn(f, "the word %s has %u tokens; one token each is cheaper and more exact",
             gdfo_task_quote(form->text).s, form->n_ids);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status build(struct gdfo_forms *f, const struct gdfo_task *t,
                              const struct gdfo_encoder *encoder, struct gdfo_error *err)
{
    f->items = gdfo_mem_array(gdfo_task_n_forms(t), sizeof *f->items);
    f->warnings = gdfo_mem_array(GDFO_FORM_WARNINGS_MAX, sizeof *f->warnings);
    if (f->items == NULL || f->warnings == NULL) {
        return gdfo_error_no_memory(err, "finding the tokens of the labels");
    }
    f->is_single_token = 1;
    for (size_t c = 0; c < gdfo_task_n_labels(t); c++) {
        for (size_t k = 0; k < gdfo_task_n_words(t, c); k++) {
            struct gdfo_form *form = &f->items[f->n];
            form->label = (uint32_t)c;
            form->text = gdfo_task_word(t, c, k);
            enum gdfo_status status = encode_form(form, t, encoder, err);
            if (status == GDFO_STATUS_OK) {
                status = check_form(f, f->n++, t, err);
            }
            if (status != GDFO_STATUS_OK) {
                return status;
            }
        }
    }
    return GDFO_STATUS_OK;
}

enum gdfo_status gdfo_task_label_forms(struct gdfo_forms **out, const struct gdfo_task *t,
                                       const struct gdfo_encoder *encoder, struct gdfo_error *err)
{
    struct gdfo_forms *f = gdfo_mem_array(1, sizeof *f);
    enum gdfo_status status = f != NULL
                                  ? build(f, t, encoder, err)
                                  : gdfo_error_no_memory(err, "finding the tokens of the labels");
    if (status == GDFO_STATUS_OK) {
        *out = f;
    } else {
        gdfo_forms_destroy(f);
    }
    return status;
}

void gdfo_forms_destroy(struct gdfo_forms *f)
{
    if (f != NULL) {
        gdfo_mem_free(f->items);
        gdfo_mem_free(f->warnings);
        gdfo_mem_free(f);
    }
}
