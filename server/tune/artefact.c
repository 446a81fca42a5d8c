#include "server/tune/artefact.h"

#include "common/hash.h"
#include "common/mem.h"
#include "common/span.h"
#include "server/tune/head.h"

#include <math.h>
#include <string.h>

#define MAGIC              0x54524147u /* "GART" */
#define VERSION            6u
#define VERSION_EVEN       5u /* before members had weights */
#define VERSION_FLAT       4u /* before deep prompts: the same without layers and words */
#define VERSION_NO_PARTNER 3u /* before a student labelled along */
#define VERSION_NO_CUE     2u /* before members had cues of their own, and always had a head */
#define VERSION_ALONE      1u /* before committees: the same without members */
#define LAYERS_MAX         4096u
#define ROWS_MAX           4096u
#define WIDTH_MAX          65536u
#define HEAD_BYTES_MAX     ((size_t)64 << 20)

struct gdfo_artefact *gdfo_artefact_create(void)
{
    struct gdfo_artefact *a = gdfo_mem_array(1, sizeof *a);
    if (a) {
        a->loss_train = (double)NAN;
        a->loss_dev = (double)NAN;
        a->metric_dev = (double)NAN;
    }
    return a;
}

static void end_members(struct gdfo_artefact *a)
{
    for (uint32_t i = 0; i < a->n_members; i++) {
        gdfo_mem_free(a->members[i].rows);
        gdfo_mem_free(a->members[i].cue);
        gdfo_head_destroy(a->members[i].head);
    }
    gdfo_mem_free(a->members);
    a->members = NULL;
    a->n_members = 0;
}

enum gdfo_status gdfo_artefact_clear_members(struct gdfo_artefact *a, size_t n,
                                             struct gdfo_error *err)
{
    end_members(a);
    if (n == 0) {
        return GDFO_STATUS_OK;
    }
    a->members = gdfo_mem_array(n, sizeof *a->members);
    if (!a->members) {
        return gdfo_error_no_memory(err, "committee");
    }
    a->n_members = (uint32_t)n;
    for (size_t i = 0; i < n; i++) {
        a->members[i].weight = 1 / (double)n;
    }
    return GDFO_STATUS_OK;
}

void gdfo_artefact_hand_over(struct gdfo_artefact *to, struct gdfo_artefact *from)
{
    to->members = from->members;
    to->n_members = from->n_members;
    to->partner = from->partner;
    from->members = NULL;
    from->n_members = 0;
    memset(&from->partner, 0, sizeof from->partner);
}

void gdfo_artefact_destroy(struct gdfo_artefact *a)
{
    if (a) {
        end_members(a);
        gdfo_mem_free(a->rows);
        gdfo_mem_free(a->anchor_ids);
        gdfo_mem_free(a->layer_ids);
        gdfo_words_deinit(&a->words);
        gdfo_head_destroy(a->head);
        gdfo_head_destroy(a->baseline);
        gdfo_head_destroy(a->partner.head);
        gdfo_mem_free(a);
    }
}

static void save_head(const struct gdfo_head *h, struct gdfo_buf *out)
{
    struct gdfo_buf bytes;
    gdfo_buf_init(&bytes, HEAD_BYTES_MAX);
    if (h) {
        gdfo_head_save(h, &bytes);
        if (!gdfo_buf_ok(&bytes)) {
            out->is_broken = 1;
        }
    }
    gdfo_buf_block(out, bytes.data, bytes.len);
    gdfo_buf_deinit(&bytes);
}

static void save_partner(const struct gdfo_artefact_partner *p, struct gdfo_buf *out)
{
    gdfo_buf_addn(out, p->sha256, sizeof p->sha256);
    gdfo_buf_f64(out, 1); /* of the members together: their own weights have it in them */
    gdfo_buf_f64(out, p->weight);
    save_head(p->head, out);
}

void gdfo_artefact_save(const struct gdfo_artefact *a, struct gdfo_buf *out)
{
    size_t start = out->len;
    gdfo_buf_u32(out, MAGIC);
    gdfo_buf_u32(out, VERSION);
    gdfo_buf_u32(out, a->n_prompt_tokens);
    gdfo_buf_u32(out, a->d_model);
    gdfo_buf_u32(out, (unsigned)a->position);
    gdfo_buf_u32(out, a->n_anchors);
    gdfo_buf_u64(out, (unsigned long long)a->evals);
    gdfo_buf_u64(out, (unsigned long long)a->queries);
    gdfo_buf_f64(out, a->loss_train);
    gdfo_buf_f64(out, a->loss_dev);
    gdfo_buf_f64(out, a->metric_dev);
    gdfo_buf_addn(out, a->rows, (size_t)a->n_prompt_tokens * a->d_model * sizeof *a->rows);
    gdfo_buf_addn(out, a->anchor_ids, a->n_anchors * sizeof *a->anchor_ids);
    save_head(a->head, out);
    save_head(a->baseline, out);
    gdfo_buf_u32(out, a->n_members);
    for (uint32_t i = 0; i < a->n_members; i++) {
        const struct gdfo_artefact_member *m = &a->members[i];
        gdfo_buf_u32(out, m->n_prompt_tokens);
        gdfo_buf_addn(out, m->rows, (size_t)m->n_prompt_tokens * a->d_model * sizeof *m->rows);
        save_head(m->head, out);
        gdfo_buf_u32(out, m->cue != NULL);
        gdfo_buf_block(out, m->cue, m->cue ? strlen(m->cue) : 0);
    }
    save_partner(&a->partner, out);
    gdfo_buf_u32(out, a->n_layer_ids);
    gdfo_buf_addn(out, a->layer_ids, a->n_layer_ids * sizeof *a->layer_ids);
    if (a->n_layer_ids > 0) {
        size_t n_first = (size_t)a->n_prompt_tokens * a->d_model;
        gdfo_buf_addn(out, a->rows + n_first,
                      (gdfo_artefact_floats(a) - n_first) * sizeof *a->rows);
    }
    gdfo_buf_u32(out, a->words.n_labels);
    gdfo_words_save(&a->words, out);
    for (uint32_t i = 0; i < a->n_members; i++) {
        gdfo_buf_f64(out, a->members[i].weight);
    }
    if (gdfo_buf_ok(out)) {
        gdfo_buf_u32(out, gdfo_crc32c(0, out->data + start, out->len - start));
    }
}

static enum gdfo_status load_head(struct gdfo_head **out, struct gdfo_span *s,
                                  struct gdfo_error *err)
{
    size_t n = 0;
    const void *bytes = gdfo_span_block(s, &n);
    *out = NULL;
    return bytes && n > 0 ? gdfo_head_load(out, bytes, n, err) : GDFO_STATUS_OK;
}

/* The numbers in front; 0 when they cannot be right. */
static int load_numbers(struct gdfo_artefact *a, struct gdfo_span *s, uint32_t *version)
{
    uint32_t magic = gdfo_span_u32(s);
    *version = gdfo_span_u32(s);
    a->n_prompt_tokens = gdfo_span_u32(s);
    a->d_model = gdfo_span_u32(s);
    a->position = (enum gdfo_position)gdfo_span_u32(s);
    a->n_anchors = gdfo_span_u32(s);
    a->evals = (int64_t)gdfo_span_u64(s);
    a->queries = (int64_t)gdfo_span_u64(s);
    a->loss_train = gdfo_span_f64(s);
    a->loss_dev = gdfo_span_f64(s);
    a->metric_dev = gdfo_span_f64(s);
    return gdfo_span_ok(s) && magic == MAGIC && *version >= VERSION_ALONE && *version <= VERSION &&
           a->n_prompt_tokens <= ROWS_MAX && a->d_model <= WIDTH_MAX &&
           a->n_anchors <= GDFO_ANCHORS_MAX &&
           (a->position == GDFO_POSITION_PREFIX || a->position == GDFO_POSITION_SUFFIX);
}

static int ends_with_checksum(struct gdfo_span *s) /* checked already, over all bytes before it */
{
    (void)gdfo_span_u32(s);
    return gdfo_span_done(s);
}

int gdfo_artefact_is_joint(const struct gdfo_artefact *a)
{
    return a->head && gdfo_head_shape_of(a->head)->n_views > 1;
}

static enum gdfo_status load_cue(struct gdfo_artefact_member *m, struct gdfo_span *s,
                                 struct gdfo_error *err)
{
    const int has_cue = gdfo_span_u32(s) != 0;
    size_t n = 0;
    const char *bytes = gdfo_span_block(s, &n);
    if (!gdfo_span_ok(s) || (!has_cue && n > 0) || (n > 0 && memchr(bytes, 0, n))) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: a member's cue");
    }
    if (has_cue) {
        m->cue = gdfo_mem_array(n + 1, 1);
        if (!m->cue) {
            return gdfo_error_no_memory(err, "committee");
        }
        memcpy(m->cue, n > 0 ? bytes : "", n);
    }
    return GDFO_STATUS_OK;
}

static enum gdfo_status load_member(const struct gdfo_artefact *a, uint32_t version,
                                    struct gdfo_artefact_member *m, struct gdfo_span *s,
                                    struct gdfo_error *err)
{
    size_t n_floats;
    enum gdfo_status status = GDFO_STATUS_OK;
    m->n_prompt_tokens = gdfo_span_u32(s);
    if (m->n_prompt_tokens > ROWS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: a member of %u rows",
                              m->n_prompt_tokens);
    }
    n_floats = (size_t)m->n_prompt_tokens * a->d_model;
    m->rows = gdfo_mem_array(n_floats, sizeof *m->rows);
    if (!m->rows) {
        return gdfo_error_no_memory(err, "committee");
    }
    (void)gdfo_span_copy(s, m->rows, n_floats * sizeof *m->rows);
    status = load_head(&m->head, s, err);
    if (status == GDFO_STATUS_OK && !m->head == !gdfo_artefact_is_joint(a)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                                "tuned prompt: a member's head where the head is one of all, or "
                                "none where it is not");
    }
    return status == GDFO_STATUS_OK && version > VERSION_NO_CUE ? load_cue(m, s, err) : status;
}

static enum gdfo_status load_members(struct gdfo_artefact *a, uint32_t version, struct gdfo_span *s,
                                     struct gdfo_error *err)
{
    uint32_t n = gdfo_span_u32(s);
    enum gdfo_status status;
    if (n > GDFO_MEMBERS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: %u members", n);
    }
    if (gdfo_artefact_is_joint(a) && gdfo_head_shape_of(a->head)->n_views != n) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "tuned prompt: %u members for a head of %zu prompts", n,
                              gdfo_head_shape_of(a->head)->n_views);
    }
    status = gdfo_artefact_clear_members(a, n, err);
    for (uint32_t i = 0; status == GDFO_STATUS_OK && i < n; i++) {
        status = load_member(a, version, &a->members[i], s, err);
    }
    return status;
}

static enum gdfo_status load_partner(struct gdfo_artefact *a, struct gdfo_span *s,
                                     struct gdfo_error *err)
{
    struct gdfo_artefact_partner *p = &a->partner;
    double together;
    enum gdfo_status status;
    (void)gdfo_span_copy(s, p->sha256, sizeof p->sha256);
    p->sha256[sizeof p->sha256 - 1] = '\0';
    together = gdfo_span_f64(s);
    p->weight = gdfo_span_f64(s);
    status = load_head(&p->head, s, err);
    for (uint32_t i = 0; p->head && i < a->n_members; i++) {
        a->members[i].weight *= together;
    }
    return status;
}

static int is_weight(double x)
{
    return x >= 0 && x < (double)INFINITY;
}

static enum gdfo_status load_weights(struct gdfo_artefact *a, struct gdfo_span *s,
                                     struct gdfo_error *err)
{
    int is_good = is_weight(a->partner.weight);
    for (uint32_t i = 0; i < a->n_members; i++) {
        a->members[i].weight = gdfo_span_f64(s);
        is_good &= is_weight(a->members[i].weight);
    }
    return is_good ? GDFO_STATUS_OK
                   : gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: a member's weight");
}

static enum gdfo_status load_layers(struct gdfo_artefact *a, struct gdfo_span *s,
                                    struct gdfo_error *err)
{
    const size_t n_first = (size_t)a->n_prompt_tokens * a->d_model;
    uint32_t n = gdfo_span_u32(s);
    uint32_t n_labels;
    float *rows;
    if (n > LAYERS_MAX) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: rows before %u layers", n);
    }
    if (n > 0) {
        a->layer_ids = gdfo_mem_array(n, sizeof *a->layer_ids);
        rows = s->n / sizeof *rows / n >= n_first ? gdfo_mem_array(1 + n, n_first * sizeof *rows)
                                                  : NULL;
        if (!a->layer_ids || !rows) {
            gdfo_mem_free(rows);
            return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                                  "tuned prompt: no rows before %u layers", n);
        }
        (void)gdfo_span_copy(s, a->layer_ids, n * sizeof *a->layer_ids);
        memcpy(rows, a->rows, n_first * sizeof *rows);
        (void)gdfo_span_copy(s, rows + n_first, n * n_first * sizeof *rows);
        gdfo_mem_free(a->rows);
        a->rows = rows;
        a->n_layer_ids = n;
    }
    n_labels = gdfo_span_u32(s);
    return gdfo_words_load(&a->words, s, n_labels, a->n_anchors, err);
}

static enum gdfo_status load_parts(struct gdfo_artefact *a, struct gdfo_span *s, uint32_t version,
                                   struct gdfo_error *err)
{
    size_t n_floats = (size_t)a->n_prompt_tokens * a->d_model;
    enum gdfo_status status;
    a->rows = gdfo_mem_array(n_floats, sizeof *a->rows);
    a->anchor_ids = gdfo_mem_array(a->n_anchors, sizeof *a->anchor_ids);
    if (!a->rows || !a->anchor_ids) {
        return gdfo_error_no_memory(err, "tuned prompt");
    }
    (void)gdfo_span_copy(s, a->rows, n_floats * sizeof *a->rows);
    (void)gdfo_span_copy(s, a->anchor_ids, a->n_anchors * sizeof *a->anchor_ids);
    status = load_head(&a->head, s, err);
    if (status == GDFO_STATUS_OK) {
        status = load_head(&a->baseline, s, err);
    }
    if (status == GDFO_STATUS_OK && version > VERSION_ALONE) {
        status = load_members(a, version, s, err);
    }
    if (status == GDFO_STATUS_OK && version > VERSION_NO_PARTNER) {
        status = load_partner(a, s, err);
    }
    if (status == GDFO_STATUS_OK && version > VERSION_FLAT) {
        status = load_layers(a, s, err);
    }
    if (status == GDFO_STATUS_OK && version > VERSION_EVEN) {
        status = load_weights(a, s, err);
    }
    if (status == GDFO_STATUS_OK && !ends_with_checksum(s)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                                "tuned prompt: the bytes do not end where they should");
    }
    return status;
}

enum gdfo_status gdfo_artefact_load(struct gdfo_artefact **out, const void *bytes, size_t n,
                                    struct gdfo_error *err)
{
    struct gdfo_span s = gdfo_span_make(bytes, n);
    struct gdfo_span tail;
    struct gdfo_artefact *a;
    uint32_t version = 0;
    enum gdfo_status status;
    if (n < 8) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT, "tuned prompt: %zu bytes are too few", n);
    }
    tail = gdfo_span_make((const char *)bytes + n - 4, 4);
    if (gdfo_span_u32(&tail) != gdfo_crc32c(0, bytes, n - 4)) {
        return gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                              "tuned prompt: the checksum of %zu bytes is wrong", n);
    }
    a = gdfo_artefact_create();
    if (!a) {
        return gdfo_error_no_memory(err, "tuned prompt");
    }
    if (!load_numbers(a, &s, &version)) {
        status = gdfo_error_set(err, GDFO_STATUS_CORRUPT,
                                "tuned prompt: not one, or of another version");
    } else {
        status = load_parts(a, &s, version, err);
    }
    if (status != GDFO_STATUS_OK) {
        gdfo_artefact_destroy(a);
        return status;
    }
    *out = a;
    return GDFO_STATUS_OK;
}
