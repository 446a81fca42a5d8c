#ifndef GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_MASKED_TEXT_H
#define GDFO_SERVER_TEACHER_ADAPTER_EMBEDDED_MASKED_TEXT_H

#include "server/model/forward.h"
#include "server/model/tokenizer/tokenizer.h"
#include "server/teacher/teacher.h"

/*
 * The layout of a masked language model: BOS, rows, body, cue, EOS (prefix) or BOS, body, rows,
 * cue, EOS (suffix), with one mask in body or cue. Pure; any thread.
 */
#define GDFO_MASKED_NONE   SIZE_MAX
#define GDFO_MASKED_PIECES 4 /* of one cell's run, at most */

/* Appends the ids of text, its GDFO_TEXT_MASK as the mask token; *mask_at: where it is in out, or
 * GDFO_MASKED_NONE. INVALID: two masks. */
GDFO_MUST_USE enum gdfo_status gdfo_masked_encode(const struct gdfo_tokenizer *t,
                                                  struct gdfo_text text, struct gdfo_ids *out,
                                                  size_t *mask_at, struct gdfo_error *err);

struct gdfo_masked_body {
    const int32_t *ids; /* BOS first */
    size_t n, mask_at;  /* GDFO_MASKED_NONE: the cue has the mask */
};

/* Which of the ids behind BOS are kept when at most n_max ids fit, BOS included: all, else the
 * first, else (the mask lies behind them) those around the mask, what stands before it first. */
void gdfo_masked_cut(const struct gdfo_masked_body *body, size_t n_max, size_t *from, size_t *to);

struct gdfo_masked_cell {
    struct gdfo_masked_body body;
    size_t from, to;    /* kept, by gdfo_masked_cut */
    const int32_t *cue; /* EOS last */
    size_t n_cue, cue_mask_at;
    const float *rows; /* [n_rows][d_model]; NULL when n_rows is 0 */
    size_t n_rows;
    const int32_t *placeholders; /* [n_rows]: rows are added to these; NULL: they stand for
                                    themselves */
    enum gdfo_position position;
};

/* The run of one cell, scored at its mask; pieces [GDFO_MASKED_PIECES] are the caller's. */
struct gdfo_run gdfo_masked_run(const struct gdfo_masked_cell *cell, struct gdfo_piece *pieces);

/* The first of n_rows ids in a row that stand for a prompt: 1000 as in the papers, in a small
 * vocabulary its last ones. INVALID when it has not so many. */
GDFO_MUST_USE enum gdfo_status gdfo_masked_placeholder(size_t vocab, size_t n_rows, int32_t *first,
                                                       struct gdfo_error *err);

#endif
