#ifndef GDFO_SERVER_TUNE_HEAD_H
#define GDFO_SERVER_TUNE_HEAD_H

#include "common/buf.h"
#include "common/error.h"
#include "common/json_write.h"

#include <stddef.h>
#include <stdint.h>

/*
 * The head: a small calibrated classifier on top of the teacher's answers, fitted on answers that
 * were paid for anyway (method.md Part A, rank 1). It turns label log-probabilities, and those of
 * the anchor tokens where there are any, into class log-probabilities. Kinds:
 *
 *   none     the label log-probabilities renormalised over the labels
 *   bias     the same plus one number per class, and nothing else: their weight stays 1
 *   anchors  a multinomial logistic regression on the log-probabilities of A anchor tokens, on top
 *            of the label log-probabilities as an offset with a weight of its own, and a bias
 *   blank    the label log-probabilities minus those of an empty text (content-free calibration)
 *   temperature  a bias per class, and a weight of the label log-probabilities as a whole
 *   verbalizer   of each class, the mean over its label word and the anchor tokens that tell it
 *            apart best on the rows, minus that mean over the rows
 *   hidden   as anchors, on the teacher's last hidden state of width H
 *   dect     distances to prototypes in a learned projection of the hidden state, beside the
 *            calibrated label words (head_dect.c)
 *   mpd      hidden states of several prompts against class prototypes by optimal transport, beside
 *            the calibrated label words of all of them (head_transport.c)
 *   promptboost  votes of many weak learners: prompt and a word for each class (head_boost.c)
 *
 * The regressions are fitted by penalised maximum likelihood in double; strengths are chosen by
 * stratified cross-validation on the given rows, kinds (auto) by paired held-out losses with the
 * one-standard-error rule in favour of the simpler. Same data, options and build: same bytes.
 *
 *   struct gdfo_head_data d = {.lp = lp, .gold = gold, .n = n, .n_labels = L};
 *   struct gdfo_head_opts o = gdfo_head_opts_default(seed);
 *   status = gdfo_head_fit(&head, &d, &o, err);
 *   gdfo_head_apply(head, lp, NULL, n, out);      out [n][L]: log-probabilities, rows sum to 1
 *
 * A head is immutable: any thread.
 */
struct gdfo_head;

enum gdfo_head_kind { /* numbers are kept in files */
                      GDFO_HEAD_AUTO,
                      GDFO_HEAD_NONE,
                      GDFO_HEAD_BIAS,
                      GDFO_HEAD_ANCHORS,
                      GDFO_HEAD_BLANK,
                      GDFO_HEAD_TEMPERATURE,
                      GDFO_HEAD_VERBALIZER,
                      GDFO_HEAD_HIDDEN,
                      GDFO_HEAD_DECT,
                      GDFO_HEAD_MPD,
                      GDFO_HEAD_PROMPTBOOST
};

#define GDFO_HEAD_FOLDS_MAX   32U
#define GDFO_HEAD_LABELS_MAX  1000U
#define GDFO_HEAD_ANCHORS_MAX 4096U
#define GDFO_HEAD_HIDDEN_MAX  65536U
#define GDFO_HEAD_VIEWS_MAX   16U
#define GDFO_HEAD_ROWS_MAX    100000U

struct gdfo_head_data {   /* borrowed during the call */
    const float *lp;      /* [n][L] label log-probabilities, finite */
    const float *anchors; /* [n][A] anchor log-probabilities, finite; NULL when n_anchors is 0 */
    const uint32_t *gold; /* [n], each below L */
    size_t n, n_labels, n_anchors;
    const float *hidden; /* [n][H] hidden states, finite; NULL when n_hidden is 0 */
    size_t n_hidden;
    const float *blank; /* [L] label log-probabilities of an empty text; NULL: not asked */
    /* mpd and promptboost: the answers to so many prompts stand side by side in a row, and the
       widths above are those of one. 0 is 1. */
    uint32_t n_views;
};

struct gdfo_head_opts {
    enum gdfo_head_kind kind;
    uint32_t n_folds; /* 2..GDFO_HEAD_FOLDS_MAX; fewer are used when a class has fewer rows */
    uint64_t seed;    /* of the folds */
    /* NULL, or [n][L]: class log-probabilities of every row from the fold that did not see it, of
       the kind and strength that were chosen */
    float *held_out;
    /* auto: a bit (1 << kind) for each kind to try beside none; 0: bias, and anchors and hidden
       where the data has them */
    uint32_t kinds;
};

/* What cross-validation found for one kind. Losses are mean cross-entropies in nats of rows held
 * out by their fold; se is the standard error of that mean over the rows. */
struct gdfo_head_score {
    enum gdfo_head_kind kind;
    int is_tried;         /* 0: not asked for, or no anchors */
    double strength;      /* penalty that was chosen; 0 for none */
    double loss, loss_se; /* held out */
    double accuracy;      /* held out */
    double gain, gain_se; /* paired: loss of the next simpler tried kind minus this, per row */
    double loss_fit;      /* on the rows it was finally fitted on */
};

struct gdfo_head_shape {
    enum gdfo_head_kind kind; /* never AUTO */
    size_t n_labels;
    size_t n_anchors,
        n_hidden;   /* what an answer must hold beside the labels; one of them at most */
    size_t n_views; /* prompts that a row takes; 1 for most kinds */
};

/* auto, 5 folds, held-out answers not wanted */
struct gdfo_head_opts gdfo_head_opts_default(uint64_t seed);

/*
 *   *out     owned by caller, ended by gdfo_head_destroy(); written on success only
 *   errors   INVALID for sizes past the ceilings, a class number >= L, a value that is not finite,
 *            anchors, hidden states or the empty text's answers needed but not given; NO_MEMORY
 */
GDFO_MUST_USE enum gdfo_status gdfo_head_fit(struct gdfo_head **out, const struct gdfo_head_data *d,
                                             const struct gdfo_head_opts *opts,
                                             struct gdfo_error *err);
void gdfo_head_destroy(struct gdfo_head *h);

const struct gdfo_head_shape *gdfo_head_shape_of(const struct gdfo_head *h); /* borrowed */
/* The score of a kind; is_tried 0 when it was not considered. Borrowed. */
const struct gdfo_head_score *gdfo_head_score_of(const struct gdfo_head *h,
                                                 enum gdfo_head_kind kind);

/* Class log-probabilities of n rows: out [n][L]. features are the anchors' log-probabilities or the
 * hidden states, as the shape says; may be NULL where it says neither. A NaN in a row makes that
 * row NaN. Allocates nothing. */
void gdfo_head_apply(const struct gdfo_head *h, const float *lp, const float *features, size_t n,
                     float *out);

/* Bytes of a head: magic, version, length, checksum; load gives the same head, bit for bit.
 * CORRUPT when the bytes are not what save wrote. */
void gdfo_head_save(const struct gdfo_head *h, struct gdfo_buf *out);
GDFO_MUST_USE enum gdfo_status gdfo_head_copy(struct gdfo_head **out, const struct gdfo_head *h,
                                              struct gdfo_error *err);
GDFO_MUST_USE enum gdfo_status gdfo_head_load(struct gdfo_head **out, const void *bytes, size_t n,
                                              struct gdfo_error *err);

/* Writes {"kind","strength","loss_cv",...,"tried":[...]} as member key: the part of a result that
 * people read; numbers of the fit itself are in save. */
void gdfo_head_write_json(const struct gdfo_head *h, struct gdfo_json_writer *w, const char *key);

const char *gdfo_head_kind_name(enum gdfo_head_kind kind); /* "auto", "none", "bias", "anchors" */
int gdfo_head_kind_parse(const char *name, enum gdfo_head_kind *out); /* 1 when known */

#endif
