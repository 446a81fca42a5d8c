#ifndef GDFO_SERVER_TEACHER_ADAPTER_OPENAI_TEXT_OPENAI_TEXT_PRIV_H
#define GDFO_SERVER_TEACHER_ADAPTER_OPENAI_TEXT_OPENAI_TEXT_PRIV_H

#include "server/teacher/answer.h"
#include "server/teacher/exchange.h"

/* Text alone, over the routes that OpenAI's servers and their kin have (teachers.md 3.5). */
enum gdfo_openai_api {
    GDFO_OPENAI_API_CHAT,
    GDFO_OPENAI_API_COMPLETIONS,
    GDFO_OPENAI_API_LLAMACPP /* llama.cpp's own route */
};

enum gdfo_openai_field { GDFO_OPENAI_MAX_TOKENS, GDFO_OPENAI_MAX_COMPLETION_TOKENS };

struct gdfo_openai_options {
    int api;              /* enum gdfo_openai_api */
    int64_t top;          /* log-probabilities of one answer; 0: as many as the api usually gives */
    int max_tokens_field; /* enum gdfo_openai_field; chat and completions */
};

/* profile->route: what the probe learned that this server does not take, then api and top, so that
 * another choice of either is another teacher. */
#define GDFO_OPENAI_OTHER_FIELD    0x1 /* the other name of max_tokens_field */
#define GDFO_OPENAI_NO_TEMPERATURE 0x2
#define GDFO_OPENAI_NO_SEED        0x4
#define GDFO_OPENAI_NO_LOGPROBS    0x8
#define GDFO_OPENAI_API_SHIFT      8
#define GDFO_OPENAI_TOP_SHIFT      12

/* Tokens that one answer is asked for. */
uint32_t gdfo_openai_top(const struct gdfo_openai_options *o);
/* Whether the server is asked for log-probabilities. */
int gdfo_openai_wants_top(const struct gdfo_remote_setup *setup);

/* One call whose input is text. LIMIT past the body's ceiling. */
GDFO_MUST_USE enum gdfo_status gdfo_openai_write(const struct gdfo_remote_setup *setup,
                                                 struct gdfo_text text, struct gdfo_exchange *out,
                                                 struct gdfo_error *err);

/* The form that value i of a block's one cell is: of the forms with this id the first. n_forms when
 * there is none. */
uint32_t gdfo_openai_form(const struct gdfo_remote_block *b, uint32_t i);

/* One answer, taken apart but not read. */
struct gdfo_openai_reading {
    const struct gdfo_json *top; /* returned tokens: an array of them, or an object text -> lp; NULL
                                    when there are none */
    const char *emitted;         /* the one token that was said, "" when none was; borrowed */
    const char *model;           /* as the answer names it; NULL */
};
GDFO_MUST_USE enum gdfo_verdict gdfo_openai_read(struct gdfo_openai_reading *out,
                                                 const struct gdfo_remote_setup *setup,
                                                 const struct gdfo_json *root,
                                                 struct gdfo_error *err);

/*
 * What the returned tokens say of n forms: cells->lp and flags, NaN on entry and left so where a
 * form was not returned; cells may be NULL where n is 0. *least: the least lp that was.
 */
GDFO_MUST_USE enum gdfo_verdict gdfo_openai_take_top(const struct gdfo_json *top,
                                                     const struct gdfo_text *forms, uint32_t n,
                                                     struct gdfo_remote_cells *cells, float *least,
                                                     struct gdfo_error *err);

GDFO_MUST_USE enum gdfo_status gdfo_openai_encode(const struct gdfo_remote_setup *setup,
                                                  const struct gdfo_remote_block *b,
                                                  struct gdfo_exchange *out,
                                                  struct gdfo_error *err);
enum gdfo_verdict gdfo_openai_decode(const struct gdfo_remote_setup *setup,
                                     const struct gdfo_remote_block *b,
                                     const struct gdfo_exchange_answer *a,
                                     struct gdfo_remote_cells *cells, struct gdfo_error *err);

/* Values of an answer's JSON, at most. */
size_t gdfo_openai_values_max(const struct gdfo_openai_options *o);

#endif
