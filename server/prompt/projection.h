#ifndef GDFO_SERVER_PROMPT_PROJECTION_H
#define GDFO_SERVER_PROMPT_PROJECTION_H

#include "server/prompt/prompt.h"

/*
 * The fixed map A [D][dim] from a search vector z to a flat prompt of D = n_prompt_tokens * d_model
 * floats. A is drawn once from the stream "projection" of the job's seed and never changes, so a
 * snapshot needs the seed only. Owner thread only (apply uses scratch memory of the object).
 *
 *   GDFO_PROJECTION_NORMAL    entries N(0, (alpha std_embedding / sqrt(dim))^2), so that with
 *                             z ~ N(0, I) every entry of A z has the deviation alpha std_embedding
 *   GDFO_PROJECTION_UNIFORM   entries uniform in +-1/sqrt(dim) (BBT's first version; no alpha)
 *   GDFO_PROJECTION_IDENTITY  A = alpha I, dim = D; nothing is stored
 *   GDFO_PROJECTION_VOCAB     each column moves one row of the prompt from its p0 towards the
 *                             embedding of one token: alpha (E[token] - p0[row]) / sqrt(columns of
 *                             that row). With z ~ N(0, I) a row moves by about alpha times the
 *                             distance of a token; one z_j = sqrt(columns of the row) / alpha alone
 *                             replaces the row by that token. Rows next to the cue get more
 *                             columns: row r's share goes as row_decay^(n_prompt_tokens - 1 - r).
 *                             Meant for small dims (10 to 50): mixtures of many tokens are Gaussian
 *                             again, and vocabulary directions are strong because they are not.
 *   GDFO_PROJECTION_GIVEN     the caller's columns (a student's subspace), times alpha
 *
 * Stored or not. A is D * dim floats: 102 MB at 50 x 1024 and dim 500, and a method that searches
 * every layer has 24 or more of them. A random A (NORMAL, UNIFORM) is therefore kept only while all
 * projections that are held at once (n_held) fit GDFO_PROJECTION_STORED_MAX_BYTES together; beyond
 * that it is drawn again, tile by tile, whenever it is used, since its stream is counter-based.
 * Both ways compute with the same tiles and give the same bits; drawing costs some 25 ns an entry.
 * VOCAB and GIVEN are always stored.
 */
#define GDFO_PROJECTION_STORED_MAX_BYTES ((size_t)256 << 20)

enum gdfo_projection_kind {
    GDFO_PROJECTION_NORMAL,
    GDFO_PROJECTION_UNIFORM,
    GDFO_PROJECTION_IDENTITY,
    GDFO_PROJECTION_VOCAB,
    GDFO_PROJECTION_GIVEN
};
#define GDFO_PROJECTION_KINDS "normal|uniform|identity|vocab" /* for option tables, same order */

struct gdfo_projection;

struct gdfo_projection_spec {
    enum gdfo_projection_kind kind;
    size_t n_prompt_tokens, d_model, dim;
    double alpha; /* > 0 */
    uint64_t seed;
    size_t n_held;        /* projections of this size held at once, this one included; 0 = 1 */
    double std_embedding; /* NORMAL: gdfo_embedding_std */
    const struct gdfo_embedding *embedding; /* VOCAB */
    struct gdfo_prompt_words words;         /* VOCAB: tokens that may be drawn */
    const float *reference;                 /* VOCAB: [n_prompt_tokens][d_model], usually p0 */
    double row_decay;                       /* VOCAB: in (0, 1]; 0 = 0.5 */
    const float *columns;                   /* GIVEN: [dim][D], one direction after the other */
};

/* *out: owned by caller, ended by gdfo_projection_destroy(). Everything in spec is borrowed only
 * during the call. */
GDFO_MUST_USE enum gdfo_status gdfo_projection_create(struct gdfo_projection **out,
                                                      const struct gdfo_projection_spec *spec,
                                                      struct gdfo_error *err);
void gdfo_projection_destroy(struct gdfo_projection *p);
size_t gdfo_projection_dim(const struct gdfo_projection *p);
size_t gdfo_projection_rows(const struct gdfo_projection *p); /* D */

size_t gdfo_projection_bytes(const struct gdfo_projection *p); /* of memory held */

/* What a column of VOCAB does; row is SIZE_MAX for the other kinds. */
struct gdfo_projection_column {
    size_t row;
    int32_t token;
};
struct gdfo_projection_column gdfo_projection_column(const struct gdfo_projection *p, size_t j);

struct gdfo_projection_input {
    const double *z; /* [n][dim] */
    size_t n;
    const float *p0;       /* [D] */
    const float *gradient; /* [D] the gradient prompt g, or NULL */
    double scale;          /* s */
};

/*
 * prompts[c] = p0 + g + s A z_c for 32 candidates in one pass over A. A prompt's bits do not
 * depend on n, on its place among the candidates, or on whether A is stored. Allocates nothing.
 *
 *   prompts  [n][n_prompt_tokens][d_model], caller's storage
 */
void gdfo_projection_apply(struct gdfo_projection *p, const struct gdfo_projection_input *in,
                           float *prompts);

/* dz = A^T dp: the gradient of a loss to the search vector. dp [D], dz [dim]. */
void gdfo_projection_pull_back(const struct gdfo_projection *p, const float *dp, double *dz);

#endif
