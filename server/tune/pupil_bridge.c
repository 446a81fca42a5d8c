#include "server/tune/pupil_bridge.h"

#include "common/buf.h"
#include "common/mem.h"
#include "server/model/tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#define SHARED_MIN 64u
#define RIDGE      1e-3

struct word { /* one token's bytes inside the spelling buffer */
    const char *bytes;
    size_t n;
    int32_t id;
};

struct vocabulary {
    struct gdfo_buf spelling;
    struct word *words;
    size_t n;
};

static int compare(const struct word *a, const struct word *b)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int c = n > 0 ? memcmp(a->bytes, b->bytes, n) : 0;
    return c != 0 ? c : (a->n > b->n) - (a->n < b->n);
}

/* Order by spelling, then by id, so that duplicates pair off the same way everywhere. */
static int compare_words(const void *a, const void *b)
{
    const struct word *x = a;
    const struct word *y = b;
    int c = compare(x, y);
    return c != 0 ? c : (x->id > y->id) - (x->id < y->id);
}

static void vocabulary_deinit(struct vocabulary *v)
{
    gdfo_buf_deinit(&v->spelling);
    gdfo_mem_free(v->words);
}

const struct gdfo_tokenizer *gdfo_pupil_tokenizer(const struct gdfo_model *teacher,
                                                  const struct gdfo_model *student)
{
    const struct gdfo_tokenizer *own = gdfo_model_tokenizer(student);
    int is_same_size =
        teacher && gdfo_model_config(teacher)->vocab == gdfo_model_config(student)->vocab;
    return own || !is_same_size ? own : gdfo_model_tokenizer(teacher);
}

static enum gdfo_status vocabulary_init(struct vocabulary *v, const struct gdfo_model *m,
                                        const struct gdfo_tokenizer *t, struct gdfo_error *err)
{
    uint32_t n_ids = gdfo_model_config(m)->vocab;
    size_t *ends;
    gdfo_buf_init(&v->spelling, (size_t)64 << 20);
    v->words = NULL;
    v->n = 0;
    if (!t) {
        return gdfo_error_set(err, GDFO_STATUS_UNSUPPORTED,
                              "a model without a tokenizer shares no tokens");
    }
    v->words = gdfo_mem_array(n_ids, sizeof *v->words);
    ends = gdfo_mem_array(n_ids + 1u, sizeof *ends);
    for (uint32_t id = 0; v->words && ends && id < n_ids; id++) {
        int32_t one = (int32_t)id;
        if (!gdfo_tokenizer_is_control(t, one)) {
            GDFO_IGNORE(
                gdfo_tokenizer_decode(t, &one, 1, &v->spelling, err)); /* leaves it unspelt */
        }
        ends[id + 1] = v->spelling.len;
    }
    if (!v->words || !ends || !gdfo_buf_ok(&v->spelling)) {
        gdfo_mem_free(ends);
        return gdfo_error_no_memory(err, "vocabulary");
    }
    for (uint32_t id = 0; id < n_ids; id++) { /* the buffer has stopped moving */
        struct word w = {v->spelling.data + ends[id], ends[id + 1] - ends[id], (int32_t)id};
        if (w.n > 0) {
            v->words[v->n++] = w;
        }
    }
    gdfo_mem_free(ends);
    qsort(v->words, v->n, sizeof *v->words, compare_words);
    return GDFO_STATUS_OK;
}

/* Merges two sorted vocabularies into pairs of ids. */
static size_t pair_up(const struct vocabulary *a, const struct vocabulary *b, int32_t *ids_a,
                      int32_t *ids_b)
{
    size_t i = 0;
    size_t j = 0;
    size_t n = 0;
    while (i < a->n && j < b->n) {
        int c = compare(&a->words[i], &b->words[j]);
        if (c == 0) {
            ids_a[n] = a->words[i].id;
            ids_b[n++] = b->words[j].id;
        }
        i += c <= 0;
        j += c >= 0;
    }
    return n;
}

static enum gdfo_status fit(struct gdfo_bridge **out, const struct gdfo_model *teacher,
                            const struct gdfo_model *student, struct gdfo_bridge_pairs *pairs,
                            struct gdfo_error *err)
{
    if (pairs->n < SHARED_MIN) {
        return gdfo_error_set(err, GDFO_STATUS_INVALID,
                              "student and teacher share %zu tokens: a bridge needs %u", pairs->n,
                              SHARED_MIN);
    }
    pairs->teacher = gdfo_model_embed(teacher);
    pairs->student = gdfo_model_embed(student);
    pairs->n_teacher = gdfo_model_config(teacher)->vocab;
    pairs->n_student = gdfo_model_config(student)->vocab;
    pairs->d_teacher = gdfo_model_config(teacher)->d_model;
    pairs->d_student = gdfo_model_config(student)->d_model;
    return gdfo_bridge_fit(out, pairs, RIDGE, err);
}

enum gdfo_status gdfo_pupil_bridge_fit(struct gdfo_bridge **out, const struct gdfo_model *teacher,
                                       const struct gdfo_model *student, size_t *n_shared,
                                       struct gdfo_error *err)
{
    struct vocabulary a;
    struct vocabulary b;
    enum gdfo_status status = vocabulary_init(&a, teacher, gdfo_model_tokenizer(teacher), err);
    enum gdfo_status status_b =
        vocabulary_init(&b, student, gdfo_pupil_tokenizer(teacher, student), err);
    size_t most = a.n < b.n ? a.n : b.n;
    int32_t *ids = gdfo_mem_array(2 * most, sizeof *ids);
    struct gdfo_bridge_pairs pairs = {.teacher_ids = ids, .student_ids = ids ? ids + most : NULL};
    status = status == GDFO_STATUS_OK ? status_b : status;
    if (status == GDFO_STATUS_OK && !ids) {
        status = gdfo_error_no_memory(err, "shared tokens");
    }
    if (status == GDFO_STATUS_OK) {
        pairs.n = pair_up(&a, &b, ids, ids + most);
        *n_shared = pairs.n;
        status = fit(out, teacher, student, &pairs, err);
    }
    gdfo_mem_free(ids);
    vocabulary_deinit(&a);
    vocabulary_deinit(&b);
    return status;
}
