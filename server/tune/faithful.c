#include "server/tune/faithful.h"

#include "common/mem.h"
#include "common/rng.h"
#include "server/model/model.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/prompt/prompt.h"
#include "server/tune/rank.h"

#include <math.h>
#include <string.h>

#define ROWS     5
#define TOGETHER 10 /* prompts of one call: a stop is noticed between two */
#define SEED     20261123
#define N_SETS   2

static const char cue_text[] = " It was";
static const char instruction[] = "Answer with one of: bad, good.";

/* Our own sentences, written for this: bad and good in turn, each about something else. */
static const char *const texts[GDFO_FAITHFUL_TEXTS] = {
    "The soup came cold and the waiter shrugged.",
    "Our guide knew every bird by its song and made us laugh.",
    "The zip broke on the second day.",
    "Quiet room, soft bed, and the best bread I have had in years.",
    "Two hours of my life that I would like to have back.",
    "It starts at once and has never let me down.",
    "They lost my parcel and blamed the weather.",
    "My daughter asked to see it again the same evening.",
};

static const char *const words[GDFO_FAITHFUL_LABELS] = {" bad",   " good",   " food", " nature",
                                                        " dress", " travel", " film", " phone"};
static const uint32_t gold_mood[GDFO_FAITHFUL_TEXTS] = {0, 1, 0, 1, 0, 1, 0, 1};
static const uint32_t gold_topic[GDFO_FAITHFUL_TEXTS] = {0, 1, 2, 3, 4, 5, 3, 4};
static const struct gdfo_faithful_shape sets[N_SETS] = {
    {GDFO_FAITHFUL_PROMPTS, GDFO_FAITHFUL_TEXTS, 2, gold_mood, 0, GDFO_FAITHFUL_LABELS},
    {GDFO_FAITHFUL_PROMPTS, GDFO_FAITHFUL_TEXTS, 6, gold_topic, 2, GDFO_FAITHFUL_LABELS},
};

/* ---- numbers -------------------------------------------------------------------------------- */

double gdfo_kendall_tau_b(const double *x, const double *y, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (isnan(x[i]) || isnan(y[i])) {
            return (double)NAN;
        }
    }
    return gdfo_rank_tau(x, y, n);
}

static size_t likeliest(const float *lp, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = lp[i] > lp[best] ? i : best;
    }
    return best;
}

/* -log of the gold label's share among the labels. */
static double loss_of(const float *lp, size_t n, size_t gold)
{
    double most = (double)lp[likeliest(lp, n)];
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += exp((double)lp[i] - most);
    }
    return most + log(sum) - (double)lp[gold];
}

static double mean_loss(const struct gdfo_faithful_shape *s, const float *lp)
{
    double sum = 0;
    for (size_t t = 0; t < s->n_texts; t++) {
        sum += loss_of(lp + t * s->n_columns + s->first, s->n_labels, s->gold[t]);
    }
    return sum / (double)s->n_texts;
}

static void compare_cells(const struct gdfo_faithful_shape *s, const float *reference,
                          const float *other, struct gdfo_faithful *out)
{
    size_t n_cells = s->n_prompts * s->n_texts;
    size_t n_same = 0;
    double sum = 0;
    for (size_t i = 0; i < n_cells; i++) {
        const float *a = reference + i * s->n_columns + s->first;
        const float *b = other + i * s->n_columns + s->first;
        n_same += likeliest(a, s->n_labels) == likeliest(b, s->n_labels);
        for (size_t l = 0; l < s->n_labels; l++) {
            double d = fabs((double)a[l] - (double)b[l]);
            sum += d;
            out->lp_max = d > out->lp_max ? d : out->lp_max;
        }
    }
    out->lp_mean = sum / (double)(n_cells * s->n_labels);
    out->agreement = (double)n_same / (double)n_cells;
}

enum gdfo_status gdfo_faithful_compare(const struct gdfo_faithful_shape *s, const float *reference,
                                       const float *other, struct gdfo_faithful *out,
                                       struct gdfo_error *err)
{
    size_t stride = s->n_texts * s->n_columns;
    double *losses = gdfo_mem_array(2 * s->n_prompts, sizeof *losses);
    *out = (struct gdfo_faithful){0};
    if (!losses) {
        return gdfo_error_no_memory(err, "comparing precisions");
    }
    compare_cells(s, reference, other, out);
    for (size_t p = 0; p < s->n_prompts; p++) {
        losses[p] = mean_loss(s, reference + p * stride);
        losses[s->n_prompts + p] = mean_loss(s, other + p * stride);
    }
    out->tau = gdfo_kendall_tau_b(losses, losses + s->n_prompts, s->n_prompts);
    gdfo_mem_free(losses);
    return GDFO_STATUS_OK;
}

int gdfo_faithful_is_good(const struct gdfo_faithful *f)
{
    return f->tau >= GDFO_FAITHFUL_TAU_MIN && f->agreement >= GDFO_FAITHFUL_AGREEMENT_MIN;
}

/* ---- the probe ------------------------------------------------------------------------------ */

enum gdfo_status gdfo_faithful_probe_compare(const float *reference, const float *other,
                                             struct gdfo_faithful *out, struct gdfo_error *err)
{
    enum gdfo_status status = gdfo_faithful_compare(&sets[0], reference, other, out, err);
    for (size_t i = 1; status == GDFO_STATUS_OK && i < N_SETS; i++) {
        struct gdfo_faithful f;
        status = gdfo_faithful_compare(&sets[i], reference, other, &f, err);
        if (status == GDFO_STATUS_OK) {
            out->lp_max = f.lp_max > out->lp_max ? f.lp_max : out->lp_max;
            out->lp_mean = f.lp_mean > out->lp_mean ? f.lp_mean : out->lp_mean;
            out->agreement = f.agreement < out->agreement ? f.agreement : out->agreement;
            out->tau = f.tau < out->tau || isnan(f.tau) ? f.tau : out->tau;
        }
    }
    return status;
}

struct probe {
    struct gdfo_text bodies[GDFO_FAITHFUL_TEXTS];
    struct gdfo_label_ids forms[GDFO_FAITHFUL_LABELS];
    size_t n_row_floats; /* of one prompt */
    float *first;        /* [ROWS][d_model] p0 */
    float *rows;         /* [TOGETHER][ROWS][d_model] */
};

static enum gdfo_status first_rows(struct probe *p, const struct gdfo_model *model,
                                   struct gdfo_error *err)
{
    const struct gdfo_embedding e = {gdfo_model_embed(model), gdfo_model_config(model)->vocab,
                                     gdfo_model_config(model)->d_model};
    struct gdfo_ids ids = {0};
    enum gdfo_status status = gdfo_tokenizer_encode(gdfo_model_tokenizer(model), instruction,
                                                    sizeof instruction - 1, &ids, err);
    if (status == GDFO_STATUS_OK) {
        status = gdfo_soft_prompt_from_ids(p->first, ROWS, &e, ids.data, ids.n, err);
    }
    gdfo_ids_deinit(&ids);
    return status;
}

static enum gdfo_status make_probe(struct probe *p, const struct gdfo_teacher *teacher,
                                   const struct gdfo_model *model, struct gdfo_error *err)
{
    enum gdfo_status status = GDFO_STATUS_OK;
    for (size_t i = 0; i < GDFO_FAITHFUL_TEXTS; i++) {
        p->bodies[i] = (struct gdfo_text){texts[i], strlen(texts[i])};
    }
    for (size_t i = 0; status == GDFO_STATUS_OK && i < GDFO_FAITHFUL_LABELS; i++) {
        const struct gdfo_text word = {words[i], strlen(words[i])};
        status = gdfo_teacher_tokenize(teacher, word, &p->forms[i], err);
        p->forms[i].n_ids =
            1; /* its first token: a second would be passes more, and say the same */
    }
    if (status != GDFO_STATUS_OK) {
        return status;
    }
    p->n_row_floats = (size_t)ROWS * gdfo_model_config(model)->d_model;
    p->first = gdfo_mem_array(p->n_row_floats, sizeof *p->first);
    p->rows = gdfo_mem_array(TOGETHER * p->n_row_floats, sizeof *p->rows);
    return p->first && p->rows ? first_rows(p, model, err)
                               : gdfo_error_no_memory(err, "comparing precisions");
}

enum gdfo_status gdfo_faithful_probe(struct gdfo_teacher *teacher, const struct gdfo_model *model,
                                     const atomic_int *stop, float *lp, struct gdfo_error *err)
{
    struct probe p = {.first = NULL};
    struct gdfo_rng rng = gdfo_rng_stream(SEED, "faithful");
    double deviation = gdfo_model_embed_std(model);
    size_t stride = (size_t)TOGETHER * GDFO_FAITHFUL_TEXTS * GDFO_FAITHFUL_LABELS;
    enum gdfo_status status = make_probe(&p, teacher, model, err);
    for (size_t at = 0; status == GDFO_STATUS_OK && at < GDFO_FAITHFUL_PROMPTS; at += TOGETHER) {
        struct gdfo_score_res res = {.lp = lp + at / TOGETHER * stride};
        const struct gdfo_score_req req = {.rows = p.rows,
                                           .n_prompts = TOGETHER,
                                           .n_prompt_tokens = ROWS,
                                           .d_model = gdfo_model_config(model)->d_model,
                                           .position = GDFO_POSITION_SUFFIX,
                                           .bodies = p.bodies,
                                           .n_examples = GDFO_FAITHFUL_TEXTS,
                                           .cue = {cue_text, sizeof cue_text - 1},
                                           .forms = p.forms,
                                           .n_forms = GDFO_FAITHFUL_LABELS};
        if (stop && atomic_load_explicit(stop, memory_order_acquire) != 0) {
            status = gdfo_error_set(err, GDFO_STATUS_CANCELLED, "asked to stop");
            break;
        }
        for (size_t i = 0; i < TOGETHER * p.n_row_floats; i++) {
            p.rows[i] =
                (float)((double)p.first[i % p.n_row_floats] + deviation * gdfo_rng_normal(&rng));
        }
        status = gdfo_teacher_run(teacher, &req, &res, err);
    }
    gdfo_mem_free(p.first);
    gdfo_mem_free(p.rows);
    return status;
}
