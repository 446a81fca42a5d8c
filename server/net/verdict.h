#ifndef GDFO_SERVER_NET_VERDICT_H
#define GDFO_SERVER_NET_VERDICT_H

#include "server/net/net.h"

/*
 * What an answer means before anybody looks into it: the tables of teachers.md 2 as pure functions.
 * Headers and body are hostile.
 */
#define GDFO_VERDICT_WAIT_MAX_MS 600000 /* no server's hint holds us longer */
#define GDFO_VERDICT_WORD_MAX    48
#define GDFO_VERDICT_BODY_MAX    8192 /* as much of an error's body as is looked at */

/* By status, and of 429 by the error's code in the body. OK means: 200, ask the judge. */
enum gdfo_net_verdict gdfo_verdict_of(const struct gdfo_net_answer *answer);

/* The code or type that an error's body names, out to identifier characters; "" when none. */
void gdfo_verdict_word(const struct gdfo_net_answer *answer, char out[GDFO_VERDICT_WORD_MAX]);

/* How long the server asks us to wait, 0..GDFO_VERDICT_WAIT_MAX_MS; 0 when it does not say, or
 * nonsense. wall_ms is for dates. */
int64_t gdfo_verdict_wait_ms(const struct gdfo_net_answer *answer, int64_t wall_ms);

/* "20ms", "1.5s", "6m0s", "1h2m3.004s" or bare seconds; -1 when it is none of them. */
int64_t gdfo_verdict_duration_ms(const char *text);

#endif
