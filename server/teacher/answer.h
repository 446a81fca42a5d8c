#ifndef GDFO_SERVER_TEACHER_ANSWER_H
#define GDFO_SERVER_TEACHER_ANSWER_H

#include "common/json.h"
#include "common/json_floats.h"
#include "server/teacher/exchange.h"

/*
 * What adapters of teachers over HTTP share when they read an answer. Its bytes are hostile: the
 * strict scanner comes first, no number is taken before its count is right, and nothing of it
 * reaches a message but the server's own cleaned words. Pure; any thread.
 */
#define GDFO_ANSWER_FLOOR     (-9999.0F) /* vLLM's and OpenAI's least number */
#define GDFO_ANSWER_WORDS_MAX 256        /* teachers.md 2 */

/* Fills err with UPSTREAM and the words; returns verdict, so that it can stand in a return. */
GDFO_PRINTF(3, 4)
enum gdfo_verdict gdfo_answer_fault(struct gdfo_error *err, enum gdfo_verdict verdict,
                                    const char *fmt, ...);

/* OK; RETRY when it is no JSON (or out of memory); BAD when it is no object or holds more than
 * max_values. *out: owned by caller, ended by gdfo_json_destroy. */
GDFO_MUST_USE enum gdfo_verdict gdfo_answer_json(struct gdfo_json **out,
                                                 const struct gdfo_exchange_answer *a,
                                                 size_t max_values, struct gdfo_error *err);
/* The same of the first n bytes, with members called "data" poured. out is ended by
 * gdfo_json_poured_deinit also on failure. */
GDFO_MUST_USE enum gdfo_verdict gdfo_answer_pour(struct gdfo_json_poured *out, const char *text,
                                                 size_t n, size_t max_numbers,
                                                 struct gdfo_error *err);

/* The server's own words in an error's body, whatever their place, without control characters and
 * cut to cap; "" when there are none. */
void gdfo_answer_words(const struct gdfo_exchange_answer *a, char *out, size_t cap);

/* The failure of a probe: status and words of the answer behind ours. */
GDFO_PRINTF(3, 4)
enum gdfo_status gdfo_answer_refuse(struct gdfo_error *err, const struct gdfo_exchange_answer *a,
                                    const char *fmt, ...);

/* NaN everywhere, no usage: what decode starts from. */
void gdfo_answer_clear(const struct gdfo_remote_block *b, struct gdfo_remote_cells *cells);

/* A log-probability as a server says it: 0 unless it is finite as a float and at most 1e-3. What
 * is at or below the floor becomes the floor, and FLOORED. */
int gdfo_answer_lp(double said, float *lp, uint8_t *flag);

/* The least number of a cell's place in lp and flags: of its values the first. */
size_t gdfo_answer_cell(const struct gdfo_remote_block *b, uint32_t prompt, uint32_t example,
                        uint32_t node);

/* Typed members; NULL or 0 when v is no object or has none of this type. */
const struct gdfo_json *gdfo_answer_get(const struct gdfo_json *v, const char *key,
                                        enum gdfo_json_type type);
const char *gdfo_answer_str(const struct gdfo_json *v, const char *key);
int gdfo_answer_count(const struct gdfo_json *v, const char *key,
                      int64_t *out); /* an integer from 0 to 2^53 */
/* Element i of an array; NULL past its end. */
const struct gdfo_json *gdfo_answer_at(const struct gdfo_json *array, size_t i);

/* Copies printable ASCII of text (NULL: nothing), cut to cap. */
void gdfo_answer_copy(char *out, size_t cap, const char *text);
/* Header x-request-id, else the text that the body has under "id". */
void gdfo_answer_id(const struct gdfo_exchange_answer *a, const struct gdfo_json *root,
                    struct gdfo_remote_cells *cells);

#endif
